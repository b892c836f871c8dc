/** Distribution's own registry, alone or with a token service in front. */
import { once } from "node:events";
import { generateKeyPairSync, sign } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type Service, startService } from "./start-service.ts";

/**
 * Answers with `127.0.0.1:PORT`. `folder` holds the settings, and is deleted at the end. `storage` holds the images, and is
 * left.
 */
export async function startDistribution(
  folder: string,
  storage: string,
  env: Readonly<Record<string, string>> = {},
): Promise<Service> {
  const config = join(folder, "config.yml");
  await writeFile(config, `version: 0.1\nstorage: { filesystem: { rootdirectory: ${storage} } }\n`);
  return startService({
    folder,
    command: ["registry", "serve", config],
    env: { REGISTRY_HTTP_ADDR: "127.0.0.1:0", OTEL_TRACES_EXPORTER: "none", ...env },
    ready: (output) => /listening on (127\.0\.0\.1:\d+)/.exec(output)?.[1],
  });
}

export interface User {
  readonly user: string;
  readonly password: string;
}

export interface TokenService {
  /** The settings with which distribution sends its clients here. */
  readonly settings: (folder: string) => Promise<Readonly<Record<string, string>>>;
  /** The scopes that were asked for. */
  readonly asked: readonly string[];
  readonly stop: () => Promise<void>;
}

/** A token service as the specification has it. It lets one user pull, and makes tokens of this length. */
export async function startTokenService({ user, password }: User, seconds: number): Promise<TokenService> {
  const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const basic = `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const { searchParams } = new URL(request.url ?? "", "http://127.0.0.1");
    const scopes = searchParams.getAll("scope");
    asked.push(...scopes);
    if (request.headers.authorization !== basic) {
      response.writeHead(401).end();
      return;
    }
    const now = Math.floor(Date.now() / 1000);
    const access = scopes.map((scope) => {
      const [type, name, actions = ""] = scope.split(":");
      return { type, name, actions: actions.split(",").filter((action) => action !== "push") };
    });
    const claims = {
      iss: "tests",
      aud: searchParams.get("service"),
      iat: now,
      nbf: now - 60,
      exp: now + seconds,
      access,
    };
    const encode = (json: object): string => Buffer.from(JSON.stringify(json)).toString("base64url");
    const signed = `${encode({ alg: "RS256", typ: "JWT", kid: "tests" })}.${encode(claims)}`;
    const token = `${signed}.${sign("RSA-SHA256", Buffer.from(signed), privateKey).toString("base64url")}`;
    response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify({ token }));
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const realm = `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`;
  return {
    asked,
    settings: async (folder) => {
      const keys = join(folder, "keys.json");
      const key = { ...publicKey.export({ format: "jwk" }), kid: "tests", use: "sig", alg: "RS256" };
      await writeFile(keys, JSON.stringify({ keys: [key] }));
      return {
        REGISTRY_AUTH: "token",
        REGISTRY_AUTH_TOKEN_REALM: realm,
        REGISTRY_AUTH_TOKEN_SERVICE: "tests",
        REGISTRY_AUTH_TOKEN_ISSUER: "tests",
        REGISTRY_AUTH_TOKEN_JWKS: keys,
      };
    },
    stop: async () => {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
