/** What the answers with manifests and with blobs have in common. */
export function contentHeaders(digest: string, length: number): Record<string, string> {
  return { "Content-Length": String(length), ...digestHeaders(digest) };
}

export function notModified(digest: string): Response {
  return new Response(null, { status: 304, headers: digestHeaders(digest) });
}

function digestHeaders(digest: string): Record<string, string> {
  return { "Docker-Content-Digest": digest, ETag: `"${digest}"` };
}
