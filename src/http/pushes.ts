/** Paths of a push (distribution specification, "Pushing Blobs"): they have no method yet, and say what to do instead. */
import { type Route, route } from "./route.ts";

export const pushRoutes: readonly Route[] = ["/v2/<name>/blobs/uploads/", "/v2/<name>/blobs/uploads/<id>"].map((path) =>
  route({ methods: [], path, needs: "load", answer: noAnswer }),
);

function noAnswer(): never {
  throw new TypeError("expected no request: the path has no method");
}
