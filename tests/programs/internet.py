"""An internet of one machine: a name server and a web server, in a network namespace of their own.

usage: internet.py ADDRESS LOG

Every question that is asked is a line of LOG. `ready` on standard output says that both listen."""

import socket, struct, sys, threading

ADDRESS, LOG = sys.argv[1:3]
A, CNAME, AAAA = 1, 5, 28

# What each answer is made of, question by question; the last one stays.
NAMES = {
    "www.example.test": [[ADDRESS]],
    "sub.wild.test": [[ADDRESS]],
    "alias.example.test": [["www.example.test", ADDRESS]],
    "secret.exfiltrated.test": [[ADDRESS]],
    "turns.example.test": [[ADDRESS], ["127.0.0.1"], ["169.254.169.254"], ["10.0.0.1"]],
    "both.example.test": [["127.0.0.1", ADDRESS]],
    "own.example.test": [["93.184.216.1"]],
    "mapped.example.test": [["::ffff:127.0.0.1"]],
    "loop.example.test": [["::1"]],
}


def encoded(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


def record(owner, what):
    if ":" in what:
        kind, data = AAAA, socket.inet_pton(socket.AF_INET6, what)
    elif what[0].isdigit():
        kind, data = A, socket.inet_aton(what)
    else:
        kind, data = CNAME, encoded(what)
    return kind, encoded(owner) + struct.pack(">HHIH", kind, 1, 0, len(data)) + data


def answer(question, log):
    at, parts = 12, []
    while question[at]:
        parts.append(question[at + 1 : at + 1 + question[at]].decode())
        at += 1 + question[at]
    (kind,) = struct.unpack(">H", question[at + 1 : at + 3])
    name = ".".join(parts).lower()
    print(name, kind, file=log, flush=True)
    rounds = NAMES.get(name)
    if rounds is None:
        return question[:2] + struct.pack(">HHHHH", 0x8183, 1, 0, 0, 0) + question[12 : at + 5]
    is_v6 = any(":" in what for what in rounds[0])
    records, owner = [], name
    if kind == (AAAA if is_v6 else A):
        for what in rounds[0]:
            kind, data = record(owner, what)
            records.append(data)
            owner = what if kind == CNAME else owner
        if len(rounds) > 1:
            rounds.pop(0)
    head = question[:2] + struct.pack(">HHHHH", 0x8180, 1, len(records), 0, 0)
    return head + question[12 : at + 5] + b"".join(records)


def serve_names(server):
    with open(LOG, "w") as log:
        while True:
            question, client = server.recvfrom(4096)
            server.sendto(answer(question, log), client)


names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind((ADDRESS, 53))
threading.Thread(target=serve_names, args=[names], daemon=True).start()
web = socket.create_server((ADDRESS, 80))
print("ready", flush=True)
while True:
    client, _ = web.accept()
    client.recv(4096)
    client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 8\r\n\r\ninternet")
    client.close()
