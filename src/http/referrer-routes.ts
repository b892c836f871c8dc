/** `GET /v2/<name>/referrers/<digest>` (distribution specification, "Listing Referrers"). */
import type { Context } from "hono";
import { digestForm, isDigest, isOtherDigest } from "../digest.ts";
import { quote, StowageError } from "../errors.ts";
import { ociIndexType } from "../oci/manifest.ts";
import { type ReferrersPage, listReferrers } from "../registry/list-referrers.ts";
import type { TextAnswer } from "./answers.ts";
import { requesterOf } from "./authentication.ts";
import { nextLink } from "./request-url.ts";
import { type Route, route } from "./route.ts";
import type { Service } from "./service.ts";

export function referrerRoutes({ layout, answers }: Service): Route[] {
  return [
    route({
      methods: ["GET"],
      path: "/v2/<name>/referrers/<digest>",
      needs: "pull",
      query: ["artifactType", "last"],
      async answer(c, { name, digest }) {
        checkSubject(digest);
        const artifactType = typeParameter(c.req.query("artifactType"));
        const after = c.req.query("last");
        return answers.sendText(c, async () => {
          const page = await listReferrers(
            layout,
            { repository: name, subject: digest, artifactType, after },
            requesterOf(c),
          );
          return pageText(c, page, artifactType);
        });
      },
    }),
  ];
}

/** A digest of another algorithm is valid too. It has no referrers. */
function checkSubject(text: string): void {
  if (isDigest(text) || isOtherDigest(text)) return;
  throw new StowageError("DIGEST_INVALID", `Cannot list referrers of ${quote(text)}: expected ${digestForm}`);
}

/**
 * The filter by type. An empty type is no filter. No type has a space: a space comes from a `+` that was not encoded.
 */
function typeParameter(text: string | undefined): string | undefined {
  return text === "" ? undefined : text?.replaceAll(" ", "+");
}

function pageText(c: Context, { descriptors, end }: ReferrersPage, artifactType: string | undefined): TextAnswer {
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
