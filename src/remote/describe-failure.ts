/** Says why a connection failed, and what the user can do about it. */
import { messageOf } from "../errors.ts";

/**
 * The message of the innermost error: `fetch` says only that it failed. If a host has several addresses, Node's error
 * has only a code. OpenSSL's message ends with a line end. Deno's has the URL, which may be a bucket's with a
 * signature: only its host is shown.
 */
export function describeFailure(error: unknown): string {
  const inner = innermost(error);
  const hint = hints[failureCode(inner)];
  const message = messageOf(inner)
    .trim()
    .replaceAll(/(https?:\/\/[^/\s)]*)[^\s)]*/g, "$1");
  return `${message || failureCode(inner)}${hint === undefined ? "" : `; ${hint}`}`;
}

/** Node's code of a failed connection, such as `ECONNREFUSED`. Empty if there is none. */
export function failureCode(error: unknown): string {
  const inner = innermost(error);
  return inner instanceof Error && "code" in inner ? String(inner.code) : "";
}

function innermost(error: unknown): unknown {
  let inner = error;
  for (let depth = 0; depth < 5 && inner instanceof Error && inner.cause instanceof Error; depth++) inner = inner.cause;
  return inner;
}

const noTls = "that port speaks no TLS: is the URL to begin with http://?";
const noTrust = "NODE_EXTRA_CA_CERTS names a file with the certificate to trust";

/** What the user can do about an error, by its code. */
const hints: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nothing listens there: are host and port right, and does the service run?",
  ENOTFOUND: "there is no such host",
  ETIMEDOUT: "nothing answers at that address",
  EPROTO: noTls,
  ERR_SSL_WRONG_VERSION_NUMBER: noTls,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: noTls,
  HPE_INVALID_CONSTANT: "that is no answer of HTTP: is the URL to begin with https://?",
  DEPTH_ZERO_SELF_SIGNED_CERT: noTrust,
  SELF_SIGNED_CERT_IN_CHAIN: noTrust,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: noTrust,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: noTrust,
};

/** Is there most likely no such server, if it has not answered before? */
export function isWrongAddress(error: unknown): boolean {
  return Object.hasOwn(hints, failureCode(error));
}
