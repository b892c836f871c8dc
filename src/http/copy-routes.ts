/** `POST /v1/copy`: copies images to the targets of the settings. Loads copy to them too, if asked. */
import { type TargetReceipt, checkCopies, copyEvent, copyToTargets } from "../copy/copy-to-targets.ts";
import { type SelectedImage, parseImagePattern, selectImages } from "../copy/select-images.ts";
import { quote, StowageError, printableLines } from "../errors.ts";
import { LayoutSource } from "../layout/layout-source.ts";
import type { Layout } from "../layout/layout.ts";
import type { ImageReceipt } from "../load/receipt.ts";
import { parsePlatform } from "../oci/descriptor.ts";
import { type JsonObject, describeJson } from "../oci/json.ts";
import { authorize, callerName, isAllowed, waiterOf } from "./authentication.ts";
import { RequestRecord } from "./request-record.ts";
import { readJsonObject } from "./small-body.ts";
import { type Route, route } from "./route.ts";
import { type Service, withinLoadSeconds } from "./service.ts";

const maxJsonBytes = 64 * 1024;
/** Images of one request. */
const maxImages = 1000;

export function copyRoutes(service: Service): Route[] {
  return [
    route({
      methods: ["POST"],
      path: "/v1/copy",
      needs: "copy",
      async answer(c) {
        const wanted = await readJsonObject(c, service, maxJsonBytes, (json) => parseWanted(json, service));
        for (const { repository } of wanted.patterns) {
          if (!repository.includes("*")) authorize(c, "copy", repository);
        }
        const copying = withinLoadSeconds("the copy", service, async (ending) => {
          const signal = AbortSignal.any([ending, c.req.raw.signal]);
          return service.copies.inTurn({ ...waiterOf(c), signal }, async () => {
            const caller = callerName(c);
            const source = new LayoutSource(service.layout, { caller, keepsIndexes: true });
            const mayRead = (repository: string): boolean => isAllowed(c, "copy", repository);
            const images = await selectImages(source, { patterns: wanted.patterns, mayRead, signal });
            checkCount(images);
            const { targets, platforms } = wanted;
            const { layout, immutableTags } = service;
            return copyToTargets(layout, targets, images, { platforms, immutableTags, caller, signal });
          });
        });
        const copies = await resumable(copying);
        service.report(copyEvent(copies, { id: RequestRecord.of(c)?.id, caller: callerName(c) }));
        checkCopies(copies, { copies });
        return c.body(`${printableLines(JSON.stringify({ copies }, undefined, 2))}\n`, 200, {
          "Content-Type": "application/json",
        });
      },
    }),
  ];
}

interface WantedCopy {
  readonly patterns: ReturnType<typeof parseImagePattern>[];
  readonly targets: ReadonlyMap<string, Layout>;
  readonly platforms: readonly string[];
}

/** `{"images": ["team/app:1.4"], "to": ["us"], "platforms"?: ["linux/arm64"]}` */
function parseWanted(json: JsonObject, service: Service): WantedCopy {
  const unknown = Object.keys(json).find((key) => !["images", "to", "platforms"].includes(key));
  if (unknown !== undefined) throw invalid(`found ${quote(unknown, 100)}, expected images, to and platforms`);
  const images = stringsIn(json, "images");
  if (images.length === 0) throw invalid('found no images, expected names such as "team/app:1.4"');
  return {
    patterns: images.map(parseImagePattern),
    targets: targetsNamed(stringsIn(json, "to"), service),
    platforms: stringsIn({ platforms: [], ...json }, "platforms").map(parsePlatform),
  };
}

function stringsIn(json: JsonObject, key: string): readonly string[] {
  const value = json[key];
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
  throw invalid(`found ${describeJson(value)} as ${key}, expected a list of strings`);
}

function invalid(reason: string): StowageError {
  return new StowageError("INPUT_INVALID", `Cannot read what to copy: ${reason}`);
}

function checkCount(images: readonly SelectedImage[]): void {
  if (images.length <= maxImages) return;
  throw invalid(`found ${images.length} images, expected at most ${maxImages} in one request`);
}

/** The targets with these names. Throws `INPUT_INVALID`. */
export function targetsNamed(names: readonly string[], { copyTargets }: Service): ReadonlyMap<string, Layout> {
  if (names.length === 0) throw invalid("found no target");
  const targets = names.map((name) => {
    const target = copyTargets.get(name);
    if (target !== undefined) return [name, target] as const;
    const known = copyTargets.size === 0 ? "none, STOWAGE_COPY_TARGETS is empty" : [...copyTargets.keys()].join(" or ");
    throw invalid(`found ${quote(name, 100)} as a target, expected ${known}`);
  });
  return new Map(targets);
}

/** A copy whose time is over ends with a 503: the same request goes on with it. */
async function resumable<T>(copying: Promise<T>): Promise<T> {
  try {
    return await copying;
  } catch (error) {
    if (!(error instanceof StowageError) || error.code !== "TIMED_OUT") throw error;
    throw new StowageError("INTERRUPTED", `${error.message}; send the request again to go on`, { cause: error });
  }
}

/** Copies the images of a load, with the end that the load has given them. */
export async function copyLoaded(
  service: Service,
  targets: ReadonlyMap<string, Layout>,
  images: readonly ImageReceipt[],
  { id, ...requester }: { readonly id: string | undefined; readonly caller: string; readonly signal: AbortSignal },
): Promise<readonly TargetReceipt[]> {
  const { layout, immutableTags } = service;
  const expires = images[0]?.expires; // all images of a load have the same end
  // Without a longest wait: the images are published already.
  return service.copies.inTurn(requester, async () => {
    const copies = await resumable(copyToTargets(layout, targets, images, { ...requester, expires, immutableTags }));
    service.report(copyEvent(copies, { id, caller: requester.caller }));
    return copies;
  });
}
