/** The service on Cloudflare Workers, its images in an S3 bucket. Settings are the Worker's variables and secrets. */
import type { Hono } from "hono";
import { parseConfig } from "../config.ts";
import { createApp } from "../http/app.ts";
import { openStore } from "../open-store.ts";

type Variables = Readonly<Record<string, string | undefined>>;

let app: Promise<Hono> | undefined;

export default {
  async fetch(request: Request, variables: Variables): Promise<Response> {
    app ??= open(variables);
    return (await app).fetch(request);
  },
};

async function open(variables: Variables): Promise<Hono> {
  const { storeUrl, limits } = parseConfig({ ...variables, HOST: "0.0.0.0" }); // everybody can reach a Worker
  const store = await openStore(storeUrl, variables);
  return createApp({ store, limits, log: (line) => console.log(line) });
}
