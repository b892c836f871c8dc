/**
 * The page for people: routes for browsers at `/` and below `/-/`. No repository's name has a part that is only `-`.
 * Each page's code is loaded at its first request: most services start for other clients.
 */
import type { Page } from "../http/app.ts";
import { type Route, route } from "../http/route.ts";
import type { Service } from "../http/service.ts";
import { Line } from "../streams/line.ts";
import { assetRoutes } from "./assets.ts";
import { guardPage } from "./guard-page.ts";
import type { PageService } from "./view.ts";

/** Pages that are put together at the same time. Each reads up to 8 manifests and configs at once. */
const maxPages = 8;

/** Makes the page for `createAppWithPage`. */
export function pageOf(service: Service): Page {
  const pages: PageService = { ...service, line: new Line({ capacity: maxPages, units: "pages", limit: "maxPages" }) };
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
      answer: async (c) => (await import("./show-repositories.tsx")).showRepositories(c, pages),
    }),
    route({
      ...get,
      path: "/-/repository/<name>",
      query: ["q", "from", "deleted"],
      answer: async (c, { name }) => (await import("./show-repository.tsx")).showRepository(c, pages, name),
    }),
    route({
      ...get,
      path: "/-/image/<name>/<reference>",
      query: ["referrers"],
      answer: async (c, parameters) => (await import("./show-image.tsx")).showImage(c, pages, parameters),
    }),
    route({
      methods: ["GET"],
      path: "/-/delete/<name>/<reference>",
      needs: "delete",
      answer: async (c, parameters) => (await import("./delete.tsx")).confirmDelete(c, pages, parameters),
    }),
    route({
      methods: ["POST"],
      path: "/-/delete/<name>/<reference>",
      needs: "delete",
      answer: async (c, parameters) => (await import("./delete.tsx")).deleteConfirmed(c, pages, parameters),
    }),
    route({
      methods: ["GET"],
      path: "/-/upload",
      needs: "load",
      answer: async (c) => (await import("./show-upload.tsx")).showUpload(c, pages),
    }),
    route({
      methods: ["GET"],
      path: "/-/login",
      needs: "nothing",
      query: ["to"],
      answer: async (c) => (await import("./login.tsx")).showLogin(c, pages),
    }),
    route({
      methods: ["POST"],
      path: "/-/login",
      needs: "nothing",
      answer: async (c) => (await import("./login.tsx")).logIn(c, pages),
    }),
    route({
      methods: ["POST"],
      path: "/-/logout",
      needs: "nothing",
      answer: async (c) => (await import("./login.tsx")).logOut(c),
    }),
  ];
}
