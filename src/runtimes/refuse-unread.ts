/**
 * Node refuses some requests before the app sees them. This file gives them an error that clients can read, and a line
 * in the log.
 */
import { type IncomingMessage, type Server, type ServerResponse, maxHeaderSize, STATUS_CODES } from "node:http";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { StowageError } from "../errors.ts";
import type { Report } from "../events.ts";
import { errorResponse } from "../http/error-response.ts";
import type { Connections } from "./connections.ts";
import { lingerMs } from "./incoming-body.ts";

/**
 * The log says at most this often that a client speaks TLS: podman and crane try that before each pull by plain HTTP.
 */
const tlsLogMs = 60_000;

/** Answers requests that Node's parser cannot read, headers that do not come in time, and CONNECT. */
export function answerUnparsed(server: Server, connections: Connections, report: Report): void {
  const refused = new WeakSet<Duplex>();
  let quietUntil = 0;
  server.on("clientError", (error: Error, socket) => {
    if (refused.has(socket)) return; // later bytes of the same client cannot be read either
    const refusal = refusalOf(error);
    if (refusal === undefined || !hasSent(socket) || connections.currentAnswer(socket)?.headersSent === true) {
      socket.destroy();
      return;
    }
    refused.add(socket);
    const isQuiet = isTls(error) && performance.now() < quietUntil;
    if (isTls(error) && !isQuiet) quietUntil = performance.now() + tlsLogMs;
    void endWith(socket, refusal, isQuiet ? () => undefined : report);
  });
  server.on("connect", (_, socket) => {
    if (connections.currentAnswer(socket) !== undefined) {
      socket.destroy(); // the client would take a refusal for the answer to its earlier request
      return;
    }
    const error = new StowageError("UNSUPPORTED", "Cannot CONNECT: this is no proxy");
    void endWith(socket, { status: 405, error }, report);
  });
}

/**
 * HTTP/1.1 requires a Host header (RFC 9112, section 3.2). HTTP/1.0 does not: the health checks of some proxies use it.
 */
export async function refuseHostless(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  report: Report,
): Promise<boolean> {
  if (incoming.headers.host !== undefined || incoming.httpVersion === "1.0") return false;
  const error = new StowageError(
    "INPUT_INVALID",
    "Cannot take the request: found no Host header, expected one in HTTP/1.1",
  );
  const { headers, body } = await contentOf({ status: 400, error }, incoming.socket, report);
  outgoing.writeHead(400, headers).end(body);
  return true;
}

interface Refusal {
  readonly status: number;
  readonly error: StowageError;
}

/**
 * The refusal for an error of Node's parser. Undefined for an error of the connection: there is no request to refuse.
 */
function refusalOf(error: Error): Refusal | undefined {
  const code = "code" in error ? String(error.code) : "";
  const refusal = (status: number, kind: "INPUT_INVALID" | "LIMIT_EXCEEDED" | "TIMED_OUT", found: string): Refusal => ({
    status,
    error: new StowageError(kind, `Cannot read the request: ${found}`),
  });
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") return refusal(408, "TIMED_OUT", "its headers did not come in time");
  if (code === "HPE_HEADER_OVERFLOW") {
    return refusal(431, "LIMIT_EXCEEDED", `its path and headers have more than ${maxHeaderSize} bytes`);
  }
  if (code === "HPE_CHUNK_EXTENSIONS_OVERFLOW") {
    return refusal(413, "LIMIT_EXCEEDED", "the extensions of its chunks are too long");
  }
  if (code === "HPE_INVALID_EOF_STATE") return undefined; // the client has gone in the middle of its request
  return code.startsWith("HPE_") ? refusal(400, "INPUT_INVALID", reasonOf(error)) : undefined;
}

/** The first bytes of a TLS connection: the record of a handshake, version 3.x. */
const tlsHandshake = [0x16, 0x03];

function isTls(error: Error): boolean {
  const packet = "rawPacket" in error && error.rawPacket instanceof Uint8Array ? error.rawPacket : [];
  return tlsHandshake.every((byte, i) => packet[i] === byte);
}

/** `Invalid method encountered`. */
function reasonOf(error: Error): string {
  if (isTls(error)) return "the client speaks TLS, and this port takes plain HTTP: ask it by http://";
  return "reason" in error && typeof error.reason === "string" ? error.reason : error.message;
}

/** Browsers open connections ahead of time. A connection without any bytes has no request to refuse. */
function hasSent(socket: Duplex): boolean {
  return !("bytesRead" in socket) || socket.bytesRead !== 0;
}

async function endWith(socket: Duplex, refusal: Refusal, report: Report): Promise<void> {
  const { headers, body } = await contentOf(refusal, socket, report);
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.on("error", () => undefined); // the client has gone
  socket.end(`HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status]}\r\n${lines.join("")}\r\n${body}`);
  setTimeout(() => socket.destroy(), lingerMs); // not at once, see `discardRest`
}

async function contentOf(
  { status, error }: Refusal,
  socket: Duplex,
  report: Report,
): Promise<{ headers: Readonly<Record<string, string>>; body: string }> {
  const client = socket instanceof Socket ? socket.remoteAddress : undefined;
  report({ event: "unread", client, status, code: error.code, message: error.message });
  const response = errorResponse(error, { status, headers: { Connection: "close" } });
  const body = await response.text();
  return {
    headers: { ...Object.fromEntries(response.headers), "content-length": String(Buffer.byteLength(body)) },
    body,
  };
}
