/** `GET /v2/<name>/referrers/<digest>` (distribution specification, "Listing Referrers"). */
import { type Context, Hono } from "hono";
import { StowageError } from "../errors.ts";
import { isDigest, isSha256Digest } from "../oci/digest.ts";
import { ociIndexType } from "../oci/manifest.ts";
import { parseRepositoryName } from "../oci/reference.ts";
import { type ReferrersPage, listReferrers } from "../pull/list-referrers.ts";
import type { TextAnswer } from "./answers.ts";
import { authorize } from "./authentication.ts";
import { nextLink } from "./next-link.ts";
import type { Service } from "./service.ts";

export function referrerRoutes({ store, limits, answers }: Service): Hono {
  return new Hono().get("/:name{.+}/referrers/:digest", async (c) => {
    const repository = parseRepositoryName(c.req.param("name"));
    authorize(c, "pull", repository);
    const subject = c.req.param("digest");
    checkDigest(subject);
    const artifactType = typeParameter(c.req.query("artifactType"));
    const after = c.req.query("last");
    const { signal } = c.req.raw;
    return answers.sendText(c, async () => {
      const page = await listReferrers(repository, subject, { store, limits, artifactType, after, signal });
      return pageText(c, page, { artifactType });
    });
  });
}

/** That of another algorithm is a digest all the same: nothing refers to it. */
function checkDigest(text: string): void {
  if (isSha256Digest(text) || (isDigest(text) && !text.startsWith("sha256:"))) return;
  const expected = 'expected "sha256:" and 64 lower-case hex digits';
  throw new StowageError("DIGEST_INVALID", `Cannot list referrers of ${JSON.stringify(text)}: ${expected}`);
}

/** An empty one is no filter. No type has a space: it was a `+` that somebody who wrote it by hand has not encoded. */
function typeParameter(text: string | undefined): string | undefined {
  return text === "" ? undefined : text?.replaceAll(" ", "+");
}

function pageText(
  c: Context,
  { descriptors, end }: ReferrersPage,
  { artifactType }: { readonly artifactType: string | undefined },
): TextAnswer {
  const index = { schemaVersion: 2, mediaType: ociIndexType, manifests: descriptors };
  const filter = artifactType === undefined ? {} : { artifactType };
  const text = JSON.stringify(index);
  return {
    maxBytes: Buffer.byteLength(text),
    text: () => text,
    headers: {
      "Content-Type": ociIndexType,
      ...(artifactType !== undefined && { "OCI-Filters-Applied": "artifactType" }),
      ...(end !== undefined && nextLink(c, { ...filter, last: end })),
    },
  };
}
