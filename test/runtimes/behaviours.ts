/** All that is to be the same on every runtime, in the order of the table. */
import { access } from "./behaviours/access.ts";
import { changes } from "./behaviours/changes.ts";
import { crowds } from "./behaviours/crowds.ts";
import { errors } from "./behaviours/errors.ts";
import { exports } from "./behaviours/exports.ts";
import { loads } from "./behaviours/loads.ts";
import { pages } from "./behaviours/pages.ts";
import { observing } from "./behaviours/observing.ts";
import { pulls } from "./behaviours/pulls.ts";
import { pushes } from "./behaviours/pushes.ts";
import { uploads } from "./behaviours/uploads.ts";
import type { Behaviour } from "./trial.ts";

export const behaviours: readonly Behaviour[] = [
  ...loads,
  ...pulls,
  ...exports,
  ...changes,
  ...errors,
  ...crowds,
  ...access,
  ...pages,
  ...uploads,
  ...pushes,
  ...observing,
];
