// A TCP proxy on 127.0.0.1 that makes a server seem far away: `delay-proxy.mjs PORT MS`. MS is the time of a round trip. It
// runs as a process of its own and prints its port. It limits no rate: a connection may have some MiB on their way.
//
// A new connection costs a round trip before its first byte, as TCP's handshake does.
import { connect, createServer } from "node:net";
import process from "node:process";

const [port, roundTripMs] = process.argv.slice(2).map(Number);
/** Linux lets a connection have about this much on its way. */
const maxBytesOnTheirWay = 6 * 1024 * 1024;

const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
  const upstream = connect({ port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
  forward(client, upstream, performance.now() + roundTripMs);
  forward(upstream, client, 0);
  for (const [one, other] of [
    [client, upstream],
    [upstream, client],
  ]) {
    one.on("error", () => other.destroy());
    one.on("close", (hadError) => hadError && other.destroy());
  }
});
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  if (typeof address === "object" && address !== null) process.stdout.write(`${address.port}\n`);
});

/** Passes on what comes, half a round trip later, and nothing before `openMs`. */
function forward(from, to, openMs) {
  const queue = [];
  let bytes = 0;
  let timer;
  const passOn = () => {
    timer = undefined;
    const now = performance.now();
    to.cork();
    while (queue.length > 0 && queue[0].dueMs <= now + 0.5) {
      const { chunk } = queue.shift();
      if (chunk === undefined) to.end();
      else to.write(chunk);
      bytes -= chunk?.length ?? 0;
    }
    to.uncork();
    if (to.writableNeedDrain) to.once("drain", passOn);
    else if (queue.length > 0) timer = setTimeout(passOn, queue[0].dueMs - now);
    if (bytes < maxBytesOnTheirWay) from.resume();
  };
  const add = (chunk) => {
    queue.push({ chunk, dueMs: Math.max(performance.now(), openMs) + roundTripMs / 2 });
    bytes += chunk?.length ?? 0;
    if (bytes >= maxBytesOnTheirWay) from.pause();
    if (timer === undefined && !to.writableNeedDrain) timer = setTimeout(passOn, queue[0].dueMs - performance.now());
  };
  from.on("data", add);
  from.on("end", () => add(undefined));
  to.on("close", () => clearTimeout(timer));
}
