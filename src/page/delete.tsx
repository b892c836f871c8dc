/** `/-/delete/<name>/<reference>`: asks first, then deletes what was seen. Works without scripts. */
import type { Context } from "hono";
import { isDigest } from "../digest.ts";
import { StowageError } from "../errors.ts";
import { callerName, requesterOf } from "../http/authentication.ts";
import { RequestRecord } from "../http/request-record.ts";
import { formatReference } from "../oci/reference.ts";
import { deleteImage } from "../registry/delete-image.ts";
import { findManifest } from "../registry/find-manifest.ts";
import { sendPage } from "./frame.tsx";
import { Breakable, Crumbs, shortReference, withQuery } from "./parts.tsx";
import { readForm } from "./read-form.ts";
import { type PageService, deleteUrl, imageUrl, repositoryUrl, viewOf } from "./view.ts";

interface ImageName {
  readonly name: string;
  readonly reference: string;
}

export async function confirmDelete(c: Context, pages: PageService, { name, reference }: ImageName): Promise<Response> {
  const { digest } = await findManifest(pages.layout, { repository: name, reference }, requesterOf(c));
  return sendPage(c, pages, {
    title: `Delete ${formatReference(name, shortReference(reference))}`,
    current: "repositories",
    body: (view) => (
      <>
        <Crumbs view={view} repository={name} />
        <section class="medium">
          <h1>Delete this {isDigest(reference) ? "image" : "tag"}?</h1>
          <p class="subject">
            <code>
              <Breakable text={formatReference(name, reference)} />
            </code>
            {!isDigest(reference) && <small class="digest">{digest}</small>}
          </p>
          <p>
            {isDigest(reference)
              ? "Clients can then no longer pull this image, nor any of its tags in this repository."
              : "Clients can then no longer pull this name. Other tags of the same image stay."}{" "}
            A new upload brings it back.
          </p>
          <form method="post" action={deleteUrl(view, name, reference)} class="actions">
            <input type="hidden" name="digest" value={digest} />
            <button class="button primary danger">Delete</button>
            <a class="button" href={imageUrl(view, name, reference)}>
              Keep it
            </a>
          </form>
        </section>
      </>
    ),
  });
}

/**
 * Deletes the image that the person has seen. If the tag has moved meanwhile, nothing is deleted (`CONDITION_FAILED`).
 */
export async function deleteConfirmed(
  c: Context,
  pages: PageService,
  { name, reference }: ImageName,
): Promise<Response> {
  const { layout, immutableTags } = pages;
  const digest = (await readForm(c, pages)).get("digest");
  if (!isDigest(digest)) throw new StowageError("INPUT_INVALID", "Cannot delete: the form does not say which image");
  const options = { ...requesterOf(c), immutableTags, expects: { digest } };
  await deleteImage(layout, { repository: name, reference }, options);
  const id = RequestRecord.of(c)?.id;
  pages.report({ event: "delete", id, caller: callerName(c), repository: name, reference, digest });
  return c.redirect(withQuery(repositoryUrl(viewOf(c), name), { deleted: shortReference(reference) }), 303);
}
