/** The page for people: routes for browsers at `/` and below `/-/`. No repository's name has a part that is only `-`. */
import type { Page } from "../http/app.ts";
import { type Route, route } from "../http/route.ts";
import type { Service } from "../http/service.ts";
import { Line } from "../streams/line.ts";
import { assetRoutes } from "./assets.ts";
import { confirmDelete, deleteConfirmed } from "./delete.tsx";
import { guardPage } from "./guard-page.tsx";
import { logIn, logOut, showLogin } from "./login.tsx";
import { showImage } from "./show-image.tsx";
import { showRepositories } from "./show-repositories.tsx";
import { showRepository } from "./show-repository.tsx";
import { showUpload } from "./show-upload.tsx";
import type { PageService } from "./view.ts";

/** Pages that are put together at the same time. Each reads up to 8 manifests and configs at once. */
const maxPages = 8;

/** Makes the page for `createAppWithPage`. */
export function pageOf(service: Service): Page {
  const pages: PageService = { ...service, pages: new Line({ capacity: maxPages, units: "pages", limit: "maxPages" }) };
  return { paths: ["/", "/-/*"], routes: pageRoutes(pages), around: guardPage };
}

function pageRoutes(pages: PageService): readonly Route[] {
  const get = { methods: ["GET"], needs: "pull" } as const;
  return [
    ...assetRoutes(),
    route({
      methods: ["GET"],
      needs: "anything",
      path: "/",
      query: ["q", "after"],
      answer: (c) => showRepositories(c, pages),
    }),
    route({
      ...get,
      path: "/-/repository/<name>",
      query: ["q", "from", "deleted"],
      answer: (c, { name }) => showRepository(c, pages, name),
    }),
    route({
      ...get,
      path: "/-/image/<name>/<reference>",
      query: ["referrers"],
      answer: (c, parameters) => showImage(c, pages, parameters),
    }),
    route({
      methods: ["GET"],
      path: "/-/delete/<name>/<reference>",
      needs: "delete",
      answer: (c, parameters) => confirmDelete(c, pages, parameters),
    }),
    route({
      methods: ["POST"],
      path: "/-/delete/<name>/<reference>",
      needs: "delete",
      answer: (c, parameters) => deleteConfirmed(c, pages, parameters),
    }),
    route({ methods: ["GET"], path: "/-/upload", needs: "load", answer: (c) => showUpload(c, pages) }),
    route({ methods: ["GET"], path: "/-/login", needs: "nothing", query: ["to"], answer: (c) => showLogin(c, pages) }),
    route({ methods: ["POST"], path: "/-/login", needs: "nothing", answer: (c) => logIn(c, pages) }),
    route({ methods: ["POST"], path: "/-/logout", needs: "nothing", answer: (c) => logOut(c) }),
  ];
}
