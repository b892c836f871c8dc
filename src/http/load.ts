/** `PUT` or `POST /v1/load[/<name>[:<tag>]]`: the request's body is a tarball, the answer is the receipt. */
import { type Context, Hono } from "hono";
import { loadArchive } from "../load/load-archive.ts";
import { type Receipt, hasChanges } from "../load/receipt.ts";
import { type ImageName, parseName } from "../oci/reference.ts";
import type { Service } from "./service.ts";

export function loadRoutes(service: Service): Hono {
  const load = async (c: Context, name: ImageName | undefined): Promise<Response> => {
    const receipt = await loadArchive(service.bodyOf(c), { ...service, name });
    service.log(summary(receipt));
    return c.body(`${JSON.stringify(receipt, undefined, 2)}\n`, hasChanges(receipt) ? 201 : 200, {
      "Content-Type": "application/json",
    });
  };
  const routes = new Hono();
  routes.on(["PUT", "POST"], "/load", (c) => load(c, undefined));
  routes.on(["PUT", "POST"], "/load/:name{.+}", (c) => load(c, parseName(c.req.param("name"))));
  return routes;
}

function summary({ images, bytes }: Receipt): string {
  const names = images.map(({ repository, reference, status }) => `${repository}:${reference} ${status}`);
  return `loaded ${names.join(", ")} (${bytes.written} bytes written, ${bytes.skipped} present)`;
}
