/** What a job of GitHub Actions with `id-token: write` has: two variables, and an endpoint that hands out identity tokens. */
import { Buffer } from "node:buffer";
import { type FakeRegistry, startFakeRegistry } from "../remote/fake-registry.ts";

export interface GithubJob {
  readonly env: Readonly<Record<string, string>>;
  /** The audience of each request that was answered with a token. */
  readonly audiences: readonly string[];
  readonly close: FakeRegistry["close"];
}

const requestToken = "request-token";

/** `issue` makes each token; its argument counts them from 1. A number is the status of an answer without a token. */
export async function startGithubJob(issue: (count: number, audience: string) => string | number): Promise<GithubJob> {
  const audiences: string[] = [];
  let count = 0;
  const { url, close } = await startFakeRegistry((request, response) => {
    const audience = new URL(request.url ?? "", "http://x").searchParams.get("audience") ?? "";
    const isAllowed = request.headers.authorization?.toLowerCase() === `bearer ${requestToken}`;
    const value = isAllowed ? issue(++count, audience) : 401;
    if (typeof value === "number") response.writeHead(value).end(JSON.stringify({ message: "no token for you" }));
    else {
      audiences.push(audience);
      response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify({ count: 1, value }));
    }
  });
  const env = {
    ACTIONS_ID_TOKEN_REQUEST_URL: `${url}/token?api-version=2.0`, // GitHub's has a query as well
    ACTIONS_ID_TOKEN_REQUEST_TOKEN: requestToken,
  };
  return { env, audiences, close };
}

/** A token without a signature that counts. */
export function identityToken(claims: Readonly<Record<string, unknown>>): string {
  const parts = [{ alg: "RS256", typ: "JWT" }, claims, "signature"];
  return parts.map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
}
