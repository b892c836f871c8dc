/** What the answers with manifests and with blobs have in common. */
import { parseRepositoryName, withoutLibrary } from "../oci/reference.ts";

/** The repository that a request names; `library/app` is `app`. Throws `NAME_INVALID`. */
export function repositoryParam(name: string): string {
  return withoutLibrary(parseRepositoryName(name));
}

export function contentHeaders(digest: string, length: number): Record<string, string> {
  return { "Content-Length": String(length), ...digestHeaders(digest) };
}

export function notModified(digest: string): Response {
  return new Response(null, { status: 304, headers: digestHeaders(digest) });
}

function digestHeaders(digest: string): Record<string, string> {
  return { "Docker-Content-Digest": digest, ETag: `"${digest}"` };
}
