/**
 * `/v1/uploads`: tarballs in parts. Some platforms limit the length of a body, and a failed part is sent again more
 * quickly than a whole tarball.
 *
 *     POST   /v1/uploads                             {"size", "fingerprint"?}: begins an upload, or finds it again
 *     GET    /v1/uploads/<id>                        its parts, with fresh URLs and what has arrived
 *     PUT    /v1/uploads/<id>/parts/<number>?key=…   stores a part, if the store has no presigned URLs
 *     POST   /v1/uploads/<id>/load[/<name>[:<tag>]]  as `/v1/load`, with the uploaded parts as the body
 *     DELETE /v1/uploads/<id>                        deletes an upload
 */
import type { Context } from "hono";
import { messageOf, StowageError } from "../errors.ts";
import { notice } from "../events.ts";
import { parseLoadPath } from "../load/archive-name.ts";
import { checkBodyBytes } from "../load/decode-content.ts";
import { loadArchive } from "../load/load-archive.ts";
import { type JsonObject, describeJson } from "../oci/json.ts";
import type { ImageName } from "../oci/reference.ts";
import { type NewUpload, beginUpload } from "../uploads/begin-upload.ts";
import { describeUpload } from "../uploads/describe-upload.ts";
import { openUpload } from "../uploads/open-upload.ts";
import { putPart } from "../uploads/put-part.ts";
import { type Upload, type UploadPart, deleteUpload, partCountOf, readOwnUpload } from "../uploads/upload.ts";
import { callerName, requesterOf, waiterOf } from "./authentication.ts";
import { contentLengthOf } from "./conditions.ts";
import { loadQuery } from "./load-answer.ts";
import { answerLoad } from "./load-routes.ts";
import { readJsonObject } from "./small-body.ts";
import { urlAbove } from "./request-url.ts";
import { type Route, route } from "./route.ts";
import { type Service, withinLoadSeconds } from "./service.ts";

const maxJsonBytes = 64 * 1024;
const maxFingerprintLength = 1024;
/** The description of one part takes about this many bytes of an answer. An upload has up to 10,000 parts. */
const describedPartBytes = 200;

/** The URLs of parts are secrets. */
const noStore = { "Cache-Control": "no-store" } as const;

const loadRoute = { methods: ["POST"], needs: "load", query: loadQuery } as const;

export function uploadRoutes(service: Service): Route[] {
  const { layout, answers } = service;
  const ownUpload = async (c: Context, id: string): Promise<Upload> => readOwnUpload(layout, id, requesterOf(c));
  /** Answers with all parts of an upload. `url` is that of `/v1/uploads`. */
  const sendUpload = async (c: Context, url: string, upload: Upload, isNew = false): Promise<Response> => {
    const { signal } = c.req.raw;
    const servedUrlOf = ({ id, key }: Upload, { number }: UploadPart): string =>
      `${url}/${id}/parts/${number}?key=${key}`;
    const describe = async (): Promise<string> =>
      JSON.stringify(await describeUpload(layout, upload, servedUrlOf, signal));
    const isBegun = c.req.method === "POST";
    return answers.sendText(c, async () => {
      const text = await layout.budget.parse(describedPartBytes * partCountOf(upload), describe, waiterOf(c));
      return {
        maxBytes: text.length, // the text is ASCII
        text: () => text,
        status: isNew ? 201 : 200,
        headers: {
          "Content-Type": "application/json",
          ...noStore,
          ...(isBegun && { Location: `${url}/${upload.id}` }),
        },
      };
    });
  };
  const load = async (c: Context, id: string, name: ImageName | undefined): Promise<Response> => {
    const upload = await ownUpload(c, id);
    return answerLoad(c, service, {
      name,
      announcedBytes: upload.size,
      load: async (_, options) => {
        const receipt = await loadArchive(layout, await openUpload(layout, upload, options), options);
        await forget(upload);
        return receipt;
      },
    });
  };
  /** Deletes a loaded upload. A failure here does not fail the load: the images are published, and the parts expire. */
  const forget = async ({ id }: Upload): Promise<void> =>
    deleteUpload(layout, id).catch((error: unknown) => {
      service.report(notice("warn", `cannot delete upload ${id}, which is loaded: ${messageOf(error)}`));
    });
  return [
    route({
      methods: ["POST"],
      path: "/v1/uploads",
      needs: "load",
      async answer(c) {
        const announced = await readJsonObject(c, service, maxJsonBytes, parseNewUpload);
        checkBodyBytes(announced.size, layout.limits.maxBodyBytes);
        const owned = { ...announced, owner: callerName(c) };
        const { upload, isNew } = await beginUpload(layout, owned, service.maxRequestBytes, service.signal);
        return sendUpload(c, urlAbove(c, 0), upload, isNew);
      },
    }),
    route({
      methods: ["GET"],
      path: "/v1/uploads/<id>",
      needs: "load",
      answer: async (c, { id }) => sendUpload(c, urlAbove(c, 1), await ownUpload(c, id)),
    }),
    route({
      methods: ["DELETE"],
      path: "/v1/uploads/<id>",
      needs: "load",
      async answer(c, parameters) {
        const { id } = await ownUpload(c, parameters.id);
        await deleteUpload(layout, id);
        return c.body(null, 204);
      },
    }),
    route({
      methods: ["PUT"],
      path: "/v1/uploads/<id>/parts/<number>",
      needs: "nothing",
      query: ["key"],
      async answer(c, { id, number }) {
        const key = c.req.query("key") ?? "";
        const part = {
          uploadId: id,
          number,
          key,
          announcedBytes: contentLengthOf(c),
          bodyFor: (owner: string) => service.watchBody(c, owner),
        };
        await withinLoadSeconds("the part", service, async (signal) =>
          putPart(layout, part, service.parts, AbortSignal.any([c.req.raw.signal, signal])),
        );
        return c.body(null, 201);
      },
    }),
    route({ ...loadRoute, path: "/v1/uploads/<id>/load", answer: (c, { id }) => load(c, id, undefined) }),
    route({ ...loadRoute, path: "/v1/uploads/<id>/load/", answer: (c, { id }) => load(c, id, undefined) }),
    route({
      ...loadRoute,
      path: "/v1/uploads/<id>/load/<image>",
      answer: (c, { id, image }) => load(c, id, parseLoadPath(image)),
    }),
  ];
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
