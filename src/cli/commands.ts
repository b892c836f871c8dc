/** The commands of the command line, by their names, in the order of the help. */
import type { Command } from "./command.ts";
import { copy } from "./copy.ts";
import { exportImages } from "./export.ts";
import { gc } from "./gc.ts";
import { load } from "./load.ts";
import { ls } from "./ls.ts";
import { rm } from "./rm.ts";
import { serve } from "./serve.ts";
import { tag } from "./tag.ts";
import { token } from "./token.ts";
import { verify } from "./verify.ts";

export const commands: Readonly<Record<string, Command>> = {
  serve,
  load,
  export: exportImages,
  copy,
  tag,
  ls,
  rm,
  verify,
  gc,
  token,
};
