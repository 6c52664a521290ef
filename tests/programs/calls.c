/* Makes system calls that it is told, and says what came back.

   Reads lines `NAME A0 A1 A2 A3 A4 A5`, in hexadecimal, and writes for each `NAME ANSWER`: a number (0 for everything that isn't an error,
   else the errno), `SIGNAL n` for the end of the process that made it, or `unknown` where the headers have no such call.
   Each call is made in a process of its own, with a timer against those that wait for ever. `calls.inc`, which goes with it,
   names the calls. */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

struct call {
    const char *name;
    long number;
};

static const struct call calls[] = {
#include "calls.inc"
};

/* Without a function of the C library around it, since after vfork(2) and clone(2) the stack may be shared. */
static inline __attribute__((always_inline)) long make(long number, const unsigned long a[6]) {
#if defined(__x86_64__)
    long answer = number;
    register unsigned long r10 __asm__("r10") = a[3], r8 __asm__("r8") = a[4], r9 __asm__("r9") = a[5];
    __asm__ volatile("syscall"
                     : "+a"(answer), "+r"(r10), "+r"(r8), "+r"(r9)
                     : "D"(a[0]), "S"(a[1]), "d"(a[2])
                     : "rcx", "r11", "memory");
    return answer;
#elif defined(__aarch64__)
    register unsigned long x8 __asm__("x8") = (unsigned long)number;
    register unsigned long x0 __asm__("x0") = a[0], x1 __asm__("x1") = a[1], x2 __asm__("x2") = a[2];
    register unsigned long x3 __asm__("x3") = a[3], x4 __asm__("x4") = a[4], x5 __asm__("x5") = a[5];
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return (long)x0;
#endif
}

static void attempt(const char *name, long number, const unsigned long arguments[6]) {
    int pipe_ends[2], status;
    int error = -1;
    if (pipe(pipe_ends))
        exit(99);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct itimerval soon = {.it_value = {.tv_usec = 300000}};
        setitimer(ITIMER_REAL, &soon, 0);
        pid_t self = getpid();
        long answer = make(number, arguments);
        if (getpid() != self)
            _exit(0); /* The child that a call made. */
        error = answer < 0 && answer > -4096 ? (int)-answer : 0;
        if (write(pipe_ends[1], &error, sizeof error) != sizeof error)
            _exit(98);
        _exit(0);
    }
    close(pipe_ends[1]);
    if (child < 0 || waitpid(child, &status, 0) != child)
        exit(97);
    ssize_t told = read(pipe_ends[0], &error, sizeof error);
    close(pipe_ends[0]);
    if (told == sizeof error)
        printf("%s %d\n", name, error);
    else if (WIFSIGNALED(status))
        printf("%s SIGNAL %d\n", name, WTERMSIG(status));
    else
        printf("%s 0\n", name); /* exit(2) and its like. */
}

int main(void) {
    char name[64];
    unsigned long a[6];
    while (scanf("%63s %lx %lx %lx %lx %lx %lx", name, &a[0], &a[1], &a[2], &a[3], &a[4], &a[5]) == 7) {
        long number = -1;
        for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
            if (!strcmp(calls[i].name, name))
                number = calls[i].number;
        if (number < 0)
            printf("%s unknown\n", name);
        else
            attempt(name, number, a);
    }
    return 0;
}
