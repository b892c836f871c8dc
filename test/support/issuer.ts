/** An OIDC issuer on this machine: a discovery document, keys that can be changed, and tokens signed by them. */
import { once } from "node:events";
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { type JWK, SignJWT, exportJWK, generateKeyPair } from "jose";

/** GitHub signs with RS256. Keys of ES256 are made faster. */
type Algorithm = "ES256" | "ES384" | "EdDSA" | "PS512" | "RS256";

export interface Issuer {
  /** `http://127.0.0.1:PORT`, or `https://…` */
  readonly url: string;
  /** The paths that it was asked for. */
  readonly asked: string[];
  /** Its public keys, as it shows them. */
  keys: JWK[];
  /** Takes the place of its answers. */
  answer: ((request: IncomingMessage, response: ServerResponse) => void) | undefined;
  /** Signs a token for the audience `stowage`, as GitHub would for `acme/app`, with these claims. `undefined` leaves one out. */
  sign(claims?: Readonly<Record<string, unknown>>, header?: Readonly<Record<string, unknown>>): Promise<string>;
  /** Signs with a new key from now on, and shows only this key. */
  rotate(alg?: Algorithm): Promise<void>;
  close(): Promise<void>;
  /** Listens again, at the same port. */
  open(): Promise<void>;
}

const discoveryPath = "/.well-known/openid-configuration";
const keysPath = "/keys";

/** With a key and a certificate, in PEM, it speaks TLS alone. */
export async function startIssuer(tls?: { readonly key: Buffer; readonly cert: Buffer }): Promise<Issuer> {
  let used = await newKey("ES256", "key-1");
  let keyCount = 1;
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    issuer.asked.push(request.url ?? "");
    response.on("error", () => undefined);
    if (issuer.answer !== undefined) return issuer.answer(request, response);
    if (request.url === discoveryPath) return sendJson(response, { issuer: url, jwks_uri: `${url}${keysPath}` });
    if (request.url === keysPath) return sendJson(response, { keys: issuer.keys });
    return void response.writeHead(404).end();
  };
  const server = tls === undefined ? createServer(answer) : createTlsServer(tls, answer);
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as AddressInfo;
  const url = `${tls === undefined ? "http" : "https"}://127.0.0.1:${port}`;
  const issuer: Issuer = {
    url,
    asked: [],
    keys: [used.jwk],
    answer: undefined,
    async sign(claims = {}, header = {}) {
      const now = Math.floor(Date.now() / 1000);
      const payload = { iss: url, aud: "stowage", iat: now, nbf: now, exp: now + 300, ...claimsOfCi, ...claims };
      return new SignJWT(payload).setProtectedHeader({ alg: used.alg, kid: used.kid, ...header }).sign(used.privateKey);
    },
    async rotate(alg = "ES256") {
      used = await newKey(alg, `key-${++keyCount}`);
      issuer.keys = [used.jwk];
    },
    async close() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
    async open() {
      await once(server.listen(port, "127.0.0.1"), "listening");
    },
  };
  return issuer;
}

/** What an issuer says of a job of CI, beside the registered claims. */
const claimsOfCi = {
  sub: "repo:acme/app:ref:refs/heads/main",
  repository: "acme/app",
  repository_owner: "acme",
  ref: "refs/heads/main",
};

export function sendJson(response: ServerResponse, json: unknown): void {
  response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(json));
}

interface Key {
  readonly alg: string;
  readonly kid: string;
  readonly privateKey: CryptoKey;
  readonly jwk: JWK;
}

async function newKey(alg: Algorithm, kid: string): Promise<Key> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  return { alg, kid, privateKey, jwk: { ...(await exportJWK(publicKey)), alg, kid, use: "sig" } };
}
