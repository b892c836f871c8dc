/** `/-/upload`: sends a tarball by the script of the page, and shows the command that does the same. */
import type { Context } from "hono";
import type { Service } from "../http/service.ts";
import { sendPage } from "./frame.tsx";
import { LoadCommand } from "./parts.tsx";
import type { PageService } from "./view.ts";

export async function showUpload(c: Context, pages: PageService): Promise<Response> {
  const { maxRequestBytes } = pages;
  return sendPage(c, pages, {
    title: "Upload",
    current: "upload",
    connectTo: await partsOrigin(pages),
    body: (view) => (
      <div class="medium">
        <h1>Upload a tarball</h1>
        <p>
          The output of <code>docker save</code>, <code>podman save</code> or a build, also compressed with gzip or
          zstd.
        </p>
        <form
          id="upload"
          class="stack"
          hidden
          data-base={view.base}
          data-max-bytes={maxRequestBytes === undefined ? undefined : String(maxRequestBytes)}
        >
          <div class="drop">
            <label for="file">Tarball</label>
            <input id="file" type="file" required accept=".tar,.gz,.tgz,.zst,.tzst,application/x-tar" />
            <p id="drop" class="muted">
              or drop it here
            </p>
          </div>
          <label for="name">
            Name <span class="muted">(if the tarball has none, or has another one)</span>
          </label>
          <input
            id="name"
            type="text"
            placeholder="team/app:1.4"
            autocomplete="off"
            autocapitalize="none"
            spellcheck={false}
          />
          <p class="actions">
            <button class="button primary">Upload</button>
            <button class="button" type="button" id="cancel" hidden>
              Cancel
            </button>
          </p>
        </form>
        <div id="state" hidden>
          <progress id="progress" max="1" value="0" aria-labelledby="status"></progress>
          <p id="status" role="status"></p>
        </div>
        <div id="receipt"></div>
        <p id="no-scripts" class="notice">
          An upload from this page needs scripts. The command below does not.
        </p>
        <section>
          <h2>From a terminal</h2>
          <LoadCommand view={view} />
        </section>
      </div>
    ),
  });
}

/** The origin of the bucket, if parts of uploads go there. The policy of the page has to name it. */
async function partsOrigin({ layout, maxRequestBytes }: Service): Promise<string | undefined> {
  const { presigner } = layout.store;
  if (maxRequestBytes === undefined || presigner === undefined) return undefined;
  return new URL(await presigner.presignPut("-", { seconds: 60, size: 1 })).origin;
}
