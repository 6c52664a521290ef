//! Node.js: threads, files, and a server with a client, as code that nobody trusts.

use crate::support::Scene;
use crate::{expect_content, needs_programs};

const WORK: &str = "
const { Worker, isMainThread, parentPort, workerData } = require('node:worker_threads');
const fs = require('node:fs'), http = require('node:http'), path = require('node:path');

function count(first) {
  return new Promise((done, failed) => {
    const worker = new Worker(__filename, { workerData: first });
    worker.on('message', done).on('error', failed);
  });
}

async function main() {
  const sums = await Promise.all([0, 1, 2, 3].map(count));
  const directory = fs.mkdtempSync('/tmp/work-');
  fs.writeFileSync(path.join(directory, 'sum'), String(sums.reduce((a, b) => a + b)));
  const server = http.createServer((request, answer) => {
    const file = fs.createReadStream(path.join(directory, request.url));
    file.on('error', () => { answer.statusCode = 404; answer.end(); }).pipe(answer);
  });
  await new Promise((up) => server.listen(0, '127.0.0.1', up));
  const { port } = server.address();
  for (const name of ['sum', 'none']) {
    const answer = await fetch(`http://127.0.0.1:${port}/${name}`);
    console.log(answer.status, await answer.text());
  }
  server.close();
}

if (isMainThread) {
  main();
} else {
  let sum = 0;
  for (let n = workerData; n < 1e6; n += 4) sum += n;
  parentPort.postMessage(sum);
}
";

#[test]
fn node_runs_threads_and_a_server_as_code_that_nobody_trusts() {
    needs_programs!();
    let scene = Scene::new();
    scene.file("work.js", WORK);
    let run = scene.work("worker", "filesystem.read = ['.']\n", &["node", "work.js"]);
    expect_content(&run);
    assert_eq!(run.text(), "200 499999500000\n404 \n", "{}", run.told());
}
