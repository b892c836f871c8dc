/** Who may do what with which repositories: the rules, without any of HTTP in them. */

/** What a token can allow. `load` brings images in; `delete` takes manifests and tags out. */
export type Action = "pull" | "load" | "delete";

export const actions: readonly Action[] = ["pull", "load", "delete"];

/** What somebody may do: each of the actions with each of the repositories. */
export interface Grant {
  readonly actions: readonly Action[];
  /** Patterns of repository names: `*` is any part of a name up to the next `/`, `**` any part at all. */
  readonly repositories: readonly string[];
}

/** A secret that whoever asks can show, and what it allows. */
export interface Token extends Grant {
  /** Names it in the log; it is no secret. */
  readonly name: string;
  /** SHA-256 of the secret, 64 lower-case hex digits: the settings need not keep the secret itself. */
  readonly sha256: string;
}

/** Who may do what, where not everybody may do everything. */
export interface AccessRules {
  readonly tokens: readonly Token[];
  /** Whoever shows no token at all may pull everything. */
  readonly anonymousPull: boolean;
}

/** `anyone`: nobody is asked. It has to be said in as many words. */
export type Access = AccessRules | "anyone";
