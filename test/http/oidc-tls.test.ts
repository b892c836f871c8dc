/** An OIDC issuer with TLS, as all real ones have it. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, beforeEach, expect, it } from "vitest";
import { type Issuer, sendJson, startIssuer } from "../support/issuer.ts";
import { describeIfFound } from "../support/requirement.ts";
import { type ServingCommand, newFolder, serveStowage, until } from "../support/run-stowage.ts";
import { missingTools } from "../tools/find-tool.ts";
import { runTool } from "../tools/run-tool.ts";

describeIfFound("an OIDC issuer with TLS", missingTools(["openssl"]), () => {
  let certificate: string;
  let issuer: Issuer;

  beforeAll(async () => {
    const folder = await newFolder();
    const [keyFile, certFile] = [join(folder, "key.pem"), join(folder, "certificate.pem")];
    const made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tests"];
    await runTool("openssl", [...made, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", keyFile, "-out", certFile]);
    certificate = certFile;
    issuer = await startIssuer({ key: await readFile(keyFile), cert: await readFile(certFile) });
    return async () => issuer.close();
  });
  beforeEach(() => {
    issuer.answer = undefined;
  });

  async function serve(env: Readonly<Record<string, string>>): Promise<ServingCommand> {
    const rule = {
      issuer: issuer.url,
      audience: "stowage",
      claims: { repository_owner: "acme" },
      actions: ["pull", "load"],
      repositories: ["${repository}"],
    };
    return serveStowage(["--store", "memory:"], { ...env, STOWAGE_OIDC: JSON.stringify([rule]) });
  }

  async function ask({ url }: ServingCommand, path = "/v2/"): Promise<{ status: number; text: string }> {
    const response = await fetch(url + path, { headers: { Authorization: `Bearer ${await issuer.sign()}` } });
    return { status: response.status, text: await response.text() };
  }

  it("lets its tokens in, and is named without its scheme", async () => {
    const service = await serve({ NODE_EXTRA_CA_CERTS: certificate });
    expect(await ask(service)).toMatchObject({ status: 200 });
    const { status, text } = await ask(service, "/v2/acme/other/tags/list");
    expect(status).toBe(403);
    expect(text).toContain(
      `the token \\"${issuer.url.slice("https://".length)}#repo:acme/app:ref:refs/heads/main\\" does`,
    );
    service.kill("SIGTERM");
    expect(await service.outcome).toMatchObject({ code: 0 });
  });

  it("is not asked for keys without TLS, not even on this machine", async () => {
    const plain = await startIssuer();
    issuer.answer = (_, response) => sendJson(response, { issuer: issuer.url, jwks_uri: `${plain.url}/keys` });
    const service = await serve({ NODE_EXTRA_CA_CERTS: certificate });
    expect(await ask(service)).toMatchObject({ status: 503 });
    await until(() =>
      /: its discovery document has "http:.*" as jwks_uri, exp/.test(service.stdout()) ? true : undefined,
    );
    expect(plain.asked).toEqual([]);
    service.kill("SIGTERM");
    expect(await service.outcome).toMatchObject({ code: 0 });
    await plain.close();
  });

  it("is not believed without a certificate to trust, and the log says what helps", async () => {
    const service = await serve({});
    expect(await ask(service)).toMatchObject({ status: 503 });
    await until(() => (/self-signed certificate; NODE_EXTRA_CA_CERTS names/.test(service.stdout()) ? true : undefined));
    service.kill("SIGTERM");
    expect(await service.outcome).toMatchObject({ code: 0 });
  });
});
