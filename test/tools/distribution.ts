/** Distribution's own registry, alone or with a token service in front. */
import { once } from "node:events";
import { X509Certificate, sign } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { runTool } from "./run-tool.ts";
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
    command: ["docker-registry", "serve", config],
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
  readonly settings: Readonly<Record<string, string>>;
  /** The scopes that were asked for. */
  readonly asked: readonly string[];
  readonly stop: () => Promise<void>;
}

const tokenSeconds = 300;

/** A token service as the specification has it. It lets one user pull. Its keys are in `folder`. */
export async function startTokenService({ user, password }: User, folder: string): Promise<TokenService> {
  const [keyFile, certificateFile] = [join(folder, "key.pem"), join(folder, "certificate.pem")];
  const options = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tests"];
  await runTool("openssl", [...options, "-keyout", keyFile, "-out", certificateFile]);
  const privateKey = await readFile(keyFile);
  const chain = [new X509Certificate(await readFile(certificateFile)).raw.toString("base64")];
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
      exp: now + tokenSeconds,
      access,
    };
    const encode = (json: object): string => Buffer.from(JSON.stringify(json)).toString("base64url");
    const signed = `${encode({ alg: "RS256", typ: "JWT", x5c: chain })}.${encode(claims)}`;
    const token = `${signed}.${sign("RSA-SHA256", Buffer.from(signed), privateKey).toString("base64url")}`;
    response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify({ token }));
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const realm = `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`;
  return {
    asked,
    settings: {
      REGISTRY_AUTH: "token",
      REGISTRY_AUTH_TOKEN_REALM: realm,
      REGISTRY_AUTH_TOKEN_SERVICE: "tests",
      REGISTRY_AUTH_TOKEN_ISSUER: "tests",
      REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE: certificateFile,
    },
    stop: async () => {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
