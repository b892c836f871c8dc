/** `/-/delete/<name>/<reference>`: asks first, then deletes what was seen. Works without scripts. */
import type { Context } from "hono";
import { isDigest } from "../digest.ts";
import { StowageError } from "../errors.ts";
import { callerName, turnOf } from "../http/authentication.ts";
import { RequestRecord } from "../http/request-record.ts";
import { formatReference } from "../oci/reference.ts";
import { deleteImage } from "../registry/delete-image.ts";
import { findManifest } from "../registry/find-manifest.ts";
import { sendPage } from "./frame.tsx";
import { Crumbs, shortReference, withQuery } from "./parts.tsx";
import { readForm } from "./read-form.ts";
import { type PageService, deleteUrl, imageUrl, repositoryUrl, viewOf } from "./view.ts";

interface ImageName {
  readonly name: string;
  readonly reference: string;
}

export async function confirmDelete(c: Context, pages: PageService, { name, reference }: ImageName): Promise<Response> {
  const { digest } = await findManifest(pages.layout, { repository: name, reference }, turnOf(c));
  return sendPage(c, pages, {
    title: `Delete ${formatReference(name, shortReference(reference))}`,
    current: "images",
    body: (view) => (
      <>
        <Crumbs view={view} repository={name} />
        <section class="narrow">
          <h1>Delete this {isDigest(reference) ? "image" : "tag"}?</h1>
          <p class="subject">
            <code>{formatReference(name, reference)}</code>
          </p>
          <p>
            {isDigest(reference)
              ? "The image and all its tags in this repository are deleted."
              : "The tag is deleted. Other tags of the same image stay."}{" "}
            Clients can no longer pull it by this name. This cannot be undone here; an upload brings it back.
          </p>
          <form method="post" action={deleteUrl(view, name, reference)} class="actions">
            <input type="hidden" name="digest" value={digest} />
            <button class="button danger">Delete</button>
            <a class="button" href={imageUrl(view, name, reference)}>
              Keep it
            </a>
          </form>
        </section>
      </>
    ),
  });
}

/** Deletes the image that the person has seen. If the tag has moved meanwhile, nothing is deleted (`CONDITION_FAILED`). */
export async function deleteConfirmed(
  c: Context,
  pages: PageService,
  { name, reference }: ImageName,
): Promise<Response> {
  const { layout, immutableTags } = pages;
  const digest = (await readForm(c, pages)).get("digest");
  if (!isDigest(digest)) throw new StowageError("INPUT_INVALID", "Cannot delete: the form does not say which image");
  const options = { ...turnOf(c), immutableTags, expects: { digest } };
  await deleteImage(layout, { repository: name, reference }, options);
  const id = RequestRecord.of(c)?.id;
  pages.report({ event: "delete", id, caller: callerName(c), repository: name, reference, digest });
  return c.redirect(withQuery(repositoryUrl(viewOf(c), name), { deleted: shortReference(reference) }), 303);
}
