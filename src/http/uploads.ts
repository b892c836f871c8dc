/**
 * `/v1/uploads`: tarballs that come in parts, because a platform cuts longer bodies off, or because a part that failed
 * is sent again more quickly than the whole.
 *
 *     POST   /v1/uploads                             {"size", "fingerprint"?}: begins one, or finds it again
 *     GET    /v1/uploads/<id>                        its parts: fresh URLs, and which of them are there
 *     PUT    /v1/uploads/<id>/parts/<number>?key=…   takes a part, where the store has no URLs of its own for it
 *     POST   /v1/uploads/<id>/load[/<name>[:<tag>]]  as `/v1/load` with what was uploaded
 *     DELETE /v1/uploads/<id>                        gives up
 */
import { type Context, Hono } from "hono";
import { StowageError } from "../errors.ts";
import { checkBodyBytes } from "../load/check-body-bytes.ts";
import { parseLoadPath } from "../load/load-path.ts";
import { type JsonObject, describeJson } from "../oci/json.ts";
import type { ImageName } from "../oci/reference.ts";
import { type NewUpload, beginUpload } from "../uploads/begin-upload.ts";
import { deleteUpload } from "../uploads/delete-upload.ts";
import { type UploadDescription, describeUpload } from "../uploads/describe-upload.ts";
import { loadUpload } from "../uploads/load-upload.ts";
import { putPart } from "../uploads/put-part.ts";
import { type Upload, type UploadPart, readOwnUpload } from "../uploads/upload.ts";
import { authorize, callerName } from "./authentication.ts";
import { contentLengthOf } from "./content-length.ts";
import { answerLoad } from "./load.ts";
import { readJsonObject } from "./request-json.ts";
import type { Service } from "./service.ts";
import { withinLoadSeconds } from "./within-load-seconds.ts";

const maxJsonBytes = 64 * 1024;
const maxFingerprintLength = 1024;

/** The URLs of parts are secrets. */
const noStore = { "Cache-Control": "no-store" } as const;

export function uploadRoutes(service: Service): Hono {
  const { store, budget } = service;
  const ownUpload = async (c: Context, id: string): Promise<Upload> => {
    authorize(c, "load");
    return readOwnUpload(id, { owner: callerName(c), store, signal: c.req.raw.signal });
  };
  const describe = async (c: Context, upload: Upload): Promise<UploadDescription> => {
    const url = urlOfUploads(c);
    const servedUrlOf = ({ id, key }: Upload, { number }: UploadPart): string =>
      `${url}/${id}/parts/${number}?key=${key}`;
    return describeUpload(upload, { store, servedUrlOf, signal: c.req.raw.signal });
  };
  const load = async (c: Context, id: string, name: ImageName | undefined): Promise<Response> => {
    const upload = await ownUpload(c, id);
    return answerLoad(c, {
      service,
      name,
      announcedBytes: upload.size,
      load: (options) => loadUpload(upload, { ...options, log: service.log }),
    });
  };
  const routes = new Hono();
  routes.post("/uploads", async (c) => {
    authorize(c, "load");
    const announced = parseNewUpload(await readJsonObject(c, service, maxJsonBytes));
    checkBodyBytes(announced.size, service.limits.maxBodyBytes);
    const { upload, isNew } = await beginUpload({ ...announced, owner: callerName(c) }, service);
    const description = await describe(c, upload);
    return c.json(description, isNew ? 201 : 200, { ...noStore, Location: `${urlOfUploads(c)}/${upload.id}` });
  });
  routes.get("/uploads/:id", async (c) =>
    c.json(await describe(c, await ownUpload(c, c.req.param("id"))), 200, noStore),
  );
  routes.delete("/uploads/:id", async (c) => {
    const { id } = await ownUpload(c, c.req.param("id"));
    await deleteUpload(id, service);
    return c.body(null, 204);
  });
  routes.put("/uploads/:id/parts/:number", async (c) => {
    const part = {
      uploadId: c.req.param("id"),
      number: c.req.param("number"),
      key: c.req.query("key") ?? "",
      announcedBytes: contentLengthOf(c),
      body: service.bodyOf(c),
    };
    await withinLoadSeconds("the part", service, async (signal) =>
      putPart(part, { store, budget, signal: AbortSignal.any([c.req.raw.signal, signal]) }),
    );
    return c.body(null, 201);
  });
  routes.on("POST", ["/uploads/:id/load", "/uploads/:id/load/"], (c) => load(c, c.req.param("id"), undefined));
  routes.post("/uploads/:id/load/:name{.+}", (c) => load(c, c.req.param("id"), parseLoadPath(c.req.param("name"))));
  return routes;
}

function parseNewUpload({ size, fingerprint }: JsonObject): Omit<NewUpload, "owner"> {
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 1) {
    throw invalid(`found size ${describeJson(size)}, expected a whole number of bytes, at least 1`);
  }
  if (fingerprint === undefined) return { size };
  if (typeof fingerprint === "string" && fingerprint.length <= maxFingerprintLength) return { size, fingerprint };
  const expected = `expected at most ${maxFingerprintLength} characters`;
  throw invalid(`found fingerprint ${describeJson(fingerprint)}, ${expected}`);
}

function invalid(problem: string): StowageError {
  return new StowageError("INPUT_INVALID", `Cannot begin an upload: ${problem}`);
}

/** Where the client reaches these routes, also below a path, and behind a proxy that speaks TLS for the service. */
function urlOfUploads(c: Context): string {
  const url = new URL(c.req.url);
  const forwarded = c.req.header("X-Forwarded-Proto")?.split(",")[0]?.trim();
  const protocol = forwarded === "http" || forwarded === "https" ? `${forwarded}:` : url.protocol;
  const name = "/uploads";
  return `${protocol}//${url.host}${url.pathname.slice(0, url.pathname.lastIndexOf(name) + name.length)}`;
}
