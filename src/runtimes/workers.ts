/** The service on Cloudflare Workers. Settings are the Worker's variables and secrets; a bucket of R2 is a binding. */
import { type OpenedApp, openApp } from "../open-app.ts";
import type { Settings } from "../settings.ts";

/** Whoever is not on the plan of an enterprise may send bodies of so many bytes. */
const maxRequestBytes = 100_000_000;

let opened: Promise<OpenedApp> | undefined;

export default {
  async fetch(request: Request, settings: Settings): Promise<Response> {
    opened ??= openApp({ ...settings, HOST: "0.0.0.0" }, { maxRequestBytes, log: (line) => console.log(line) });
    return (await opened).app.fetch(request);
  },
};
