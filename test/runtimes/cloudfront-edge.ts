/**
 * Stands in for CloudFront in front of a function URL, as infra/aws/template.yaml sets it up. It runs the function of the
 * template before each request, sends the service its own host, and passes on all other headers.
 */
import { once } from "node:events";
import { type IncomingHttpHeaders, type IncomingMessage, type ServerResponse, createServer, request } from "node:http";
import { pipeline } from "node:stream/promises";
import { type EdgeFunction, loadEdgeFunction } from "../infra/edge-function.ts";

export interface Edge {
  readonly url: string;
  readonly stop: () => void;
}

/** Headers of one connection (RFC 9110, section 7.6.1), and those that CloudFront does not pass on. */
const droppedHeaders = ["connection", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];

export async function startEdge(origin: string, { anonymousPull }: { anonymousPull: boolean }): Promise<Edge> {
  const runFunction = await loadEdgeFunction(anonymousPull);
  const server = createServer((incoming, response) => {
    answer(incoming, response, { origin, runFunction }).catch(() => response.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const stop = (): void => {
    server.close();
    server.closeAllConnections();
  };
  return { url: `http://127.0.0.1:${port}`, stop };
}

async function answer(
  incoming: IncomingMessage,
  response: ServerResponse,
  { origin, runFunction }: { readonly origin: string; readonly runFunction: EdgeFunction },
): Promise<void> {
  const { method = "GET", url = "/" } = incoming;
  const result = runFunction({
    method,
    uri: url.replace(/\?.*/, ""),
    headers: Object.fromEntries(textsOf(incoming.headers).map(([name, value]) => [name, { value }])),
  });
  const headers = Object.entries(result.headers).map(([name, { value }]) => [name, value] as const);
  if ("statusCode" in result) {
    response.writeHead(result.statusCode, Object.fromEntries(headers)).end(result.body);
    return;
  }
  const passed = headers.filter(([name]) => !droppedHeaders.includes(name));
  const outgoing = request(new URL(url, origin), { method, headers: Object.fromEntries(passed) });
  const [[answered]] = await Promise.all([
    once(outgoing, "response") as Promise<[IncomingMessage]>,
    pipeline(incoming, outgoing),
  ]);
  response.writeHead(answered.statusCode ?? 502, answered.rawHeaders);
  await pipeline(answered, response);
}

function textsOf(headers: IncomingHttpHeaders): [string, string][] {
  return Object.entries(headers).map(([name, value]) => [name, String(value)]);
}
