/** Who may do what. */
import { expect } from "vitest";
import { makeLayout, tarOf } from "../../support/layout.ts";
import { type AskOptions, type Behaviour, ask, load, loaded, secrets } from "../trial.ts";

export const access: readonly Behaviour[] = [
  {
    name: "without a token: 401",
    run: async (trial) => {
      for (const path of ["/healthz", "/readyz"]) {
        expect((await ask(trial, path, { secret: undefined })).status, path).toBe(200);
      }
      for (const secret of [undefined, "a-guess"]) {
        for (const path of ["/v2/", "/v2/access/app/manifests/1", "/v2/_catalog"]) {
          const { status, code, headers } = await ask(trial, path, { secret });
          expect({ status, code }).toEqual({ status: 401, code: "UNAUTHORIZED" });
          // A function URL of Lambda renames the header: test/clients/cloudfront.test.ts.
          const challenge = headers.get("WWW-Authenticate") ?? headers.get("x-amzn-Remapped-www-authenticate");
          expect(challenge).toMatch(/^Basic realm=/);
        }
        const tarball = await tarOf(makeLayout({ name: "access/app:1" }));
        expect(await ask(trial, "/v1/load", { method: "PUT", body: tarball, secret })).toMatchObject({ status: 401 });
      }
    },
  },
  {
    name: "with another's token: 403",
    run: async (trial) => {
      const tarball = await tarOf(makeLayout({ label: "access", name: "access/app:1" }));
      await loaded(trial, tarball);
      const { reader, team } = secrets;
      expect(await ask(trial, "/v2/access/app/manifests/1", { secret: reader })).toMatchObject({ status: 200 });
      expect(await load(trial, tarball, undefined, { secret: reader })).toMatchObject({ status: 403, code: "DENIED" });
      expect(await load(trial, tarball, undefined, { secret: team })).toMatchObject({ status: 403, code: "DENIED" });
      expect((await load(trial, tarball, "team/app:1", { secret: team })).status).toBe(201);
      expect(await ask(trial, "/v2/access/app/manifests/1", { secret: team })).toMatchObject({ status: 403 });
      expect((await ask(trial, "/v2/team/app/manifests/1", basic(team))).status).toBe(200);
    },
  },
  {
    name: "with a token of an OIDC issuer",
    run: async (trial) => {
      const { issuer } = trial;
      if (issuer === undefined) throw new Error("expected a service with an issuer");
      await issuer.rotate("RS256"); // as GitHub
      const tokens = await Promise.all(Array.from({ length: 16 }, async (_, i) => issuer.sign({ sub: `job-${i}` })));
      const first = await Promise.all(tokens.map(async (secret) => ask(trial, "/v2/", { secret })));
      expect(first.map(({ status }) => status)).toEqual(tokens.map(() => 200));
      expect(issuer.asked.length).toBeLessThanOrEqual(4); // some platforms answer in more than one process
      const secret = await issuer.sign();
      const tarball = await tarOf(makeLayout({ label: "oidc", name: "acme/app:1" }));
      expect((await load(trial, tarball, undefined, { secret })).status).toBe(201);
      expect((await ask(trial, "/v2/acme/app/manifests/1", basic(secret))).status).toBe(200);
      expect(await load(trial, tarball, "acme/other:1", { secret })).toMatchObject({ status: 403, code: "DENIED" });
      const now = Math.floor(Date.now() / 1000);
      for (const [claims, message] of [
        [{ exp: now - 90 }, "it expired at"],
        [{ aud: "other" }, "expected stowage"],
        [{ repository_owner: "evil" }, 'repository_owner is "evil"'],
        [{ repository: "acme/*" }, "expected a part of a repository's name"],
        [{ iss: "http://127.0.0.1:1" }, "no rule of STOWAGE_OIDC is for its issuer"],
      ] as const) {
        const refused = await ask(trial, "/v2/", { secret: await issuer.sign(claims) });
        expect(refused).toMatchObject({ status: 401, code: "UNAUTHORIZED" });
        expect(refused.bytes.toString().replaceAll("\\", "")).toContain(message);
      }
    },
  },
];

function basic(secret: string): AskOptions {
  const credentials = Buffer.from(`anybody:${secret}`).toString("base64");
  return { secret: undefined, headers: { Authorization: `Basic ${credentials}` } };
}
