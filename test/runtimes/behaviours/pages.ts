/** The page for people. */
import { expect } from "vitest";
import { makeLayout, tarOf } from "../../support/layout.ts";
import { type Behaviour, type Trial, ask, loaded, secrets } from "../trial.ts";

const asBrowser = { Accept: "text/html", "Sec-Fetch-Site": "same-origin" };

interface Sent {
  readonly method?: string;
  readonly body?: URLSearchParams;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Does not follow redirects, since these set the cookie. */
async function browse({ url }: Trial, path: string, init: Sent = {}): Promise<Response> {
  return fetch(url + path, { ...init, headers: { ...asBrowser, ...init.headers }, redirect: "manual" });
}

export const pages: readonly Behaviour[] = [
  {
    name: "a page, after a login",
    run: async (trial) => {
      await loaded(trial, await tarOf(makeLayout({ name: "page/app:1" })));
      expect((await browse(trial, "/")).status).toBe(303);
      const body = new URLSearchParams({ token: secrets.owner });
      const login = await browse(trial, "/-/login", { method: "POST", body });
      expect(login.status).toBe(303);
      const [cookie = ""] = login.headers.getSetCookie();
      expect(cookie).toContain("HttpOnly");
      const headers = { Cookie: cookie.split(";", 1)[0] ?? "" };
      const list = await browse(trial, "/?q=page/app", { headers });
      expect(list.headers.get("Content-Security-Policy")).toContain("default-src 'none'");
      expect(await list.text()).toContain("/-/repository/page/app");
      const image = await browse(trial, "/-/image/page/app/1", { headers });
      expect(await image.text()).toContain("docker pull");
      expect((await browse(trial, "/-/assets/page.js")).status).toBe(200);
      const exported = await browse(trial, "/v1/export/page/app:1", { headers });
      expect([200, 307]).toContain(exported.status); // some platforms send clients to the bucket
      await exported.body?.cancel();
      expect((await ask(trial, "/v2/", { secret: undefined, headers })).status).toBe(401);
    },
  },
];
