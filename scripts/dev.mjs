/**
 * `npm run dev`: serves, and again after each change of the source. Arguments are those of `stowage serve`:
 *
 *     npm run dev -- --port 5000
 *
 * `tsc` compiles each change to `dist`, and Node watches that. (Node reads no JSX.)
 */
import { spawn, spawnSync } from "node:child_process";
import process from "node:process";

const tsc = ["node_modules/typescript/bin/tsc", "-p", "src", "--removeComments", "--declaration", "false"];

process.chdir(new URL("..", import.meta.url).pathname);
const { status } = spawnSync(process.execPath, tsc, { stdio: "inherit" });
if (status !== 0) process.exit(status ?? 1);
// `tsc` is a script that starts a program and does not pass signals on: a group of its own gets them.
start([...tsc, "--watch", "--preserveWatchOutput"], { detached: true });
start([
  "--enable-source-maps",
  "--watch",
  "--watch-preserve-output",
  "dist/cli/stowage.js",
  "serve",
  ...process.argv.slice(2),
]);

/** All that was started ends together, at Ctrl-C and at SIGTERM. */
function start(args, { detached = false } = {}) {
  const child = spawn(process.execPath, args, { stdio: ["ignore", "inherit", "inherit"], detached });
  const end = () => {
    if (child.exitCode === null && child.signalCode === null) process.kill(detached ? -child.pid : child.pid);
  };
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, end);
  child.on("exit", (code) => {
    process.exitCode ??= code ?? 0;
    process.emit("SIGTERM");
  });
}
