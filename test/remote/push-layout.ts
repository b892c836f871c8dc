/** Pushes a layout into a registry (distribution specification, "Push"), each image under the name of its root. */
import type { Digest } from "../../src/digest.ts";
import { type Layout, type TestDescriptor, types } from "../support/layout.ts";
import { isJsonObject } from "../../src/oci/json.ts";

const nameAnnotation = "io.containerd.image.name";

/** `url` is that of a registry that lets everybody push. */
export async function pushLayout(url: string, layout: Layout): Promise<void> {
  for (const root of layout.roots) {
    const [repository = "", tag = ""] = root.annotations?.[nameAnnotation]?.split(":") ?? [];
    await pushImage({ url: `${url}/v2/${repository}`, layout }, root, tag);
  }
}

interface Push {
  /** The repository's. */
  readonly url: string;
  readonly layout: Layout;
}

async function pushImage(push: Push, descriptor: TestDescriptor, reference: string): Promise<void> {
  const bytes = bytesOf(push.layout, descriptor.digest);
  const manifest: unknown = JSON.parse(bytes.toString());
  if (!isJsonObject(manifest)) throw new Error(`expected a manifest, found ${bytes.toString()}`);
  const { manifests = [], layers = [], config, subject } = manifest as Record<string, never>;
  for (const child of manifests as TestDescriptor[]) await pushImage(push, child, child.digest);
  const blobs = config === undefined ? [] : [config as TestDescriptor, ...(layers as TestDescriptor[])];
  for (const { digest } of blobs) await pushBlob(push, digest);
  const answer = await send(`${push.url}/manifests/${reference}`, {
    method: "PUT",
    headers: { "Content-Type": descriptor.mediaType },
    body: bytes,
  });
  if (subject === undefined || answer.headers.has("OCI-Subject")) return;
  await nameReferrer(push, (subject as TestDescriptor).digest, descriptor);
}

async function pushBlob({ url, layout }: Push, digest: Digest): Promise<void> {
  const begun = await send(`${url}/blobs/uploads/`, { method: "POST" });
  const location = new URL(begun.headers.get("Location") ?? "", `${url}/`);
  location.searchParams.set("digest", digest);
  const headers = { "Content-Type": "application/octet-stream" };
  await send(location.href, { method: "PUT", headers, body: bytesOf(layout, digest) });
}

/** For a registry without the referrers API ("Pushing Manifests with Subject"). */
async function nameReferrer({ url }: Push, subject: string, referrer: TestDescriptor): Promise<void> {
  const at = `${url}/manifests/${subject.replace(":", "-")}`;
  const before = await fetch(at, { headers: { Accept: types.index } });
  const text = await before.text();
  const { manifests } = before.ok ? (JSON.parse(text) as { manifests: unknown[] }) : { manifests: [] };
  const { mediaType, digest, size } = referrer;
  const index = { schemaVersion: 2, mediaType: types.index, manifests: [...manifests, { mediaType, digest, size }] };
  await send(at, { method: "PUT", headers: { "Content-Type": types.index }, body: JSON.stringify(index) });
}

async function send(url: string, init: RequestInit): Promise<Response> {
  const response = await fetch(url, init);
  const text = await response.text();
  if (!response.ok) throw new Error(`Cannot push to ${url}: ${response.status} ${text}`);
  return response;
}

function bytesOf({ blobs }: Layout, digest: Digest): Buffer<ArrayBuffer> {
  const bytes = blobs.get(digest);
  if (bytes === undefined) throw new Error(`expected a blob ${digest}`);
  return Buffer.from(bytes);
}
