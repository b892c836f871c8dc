/** The settings: environment variables and, on Workers, the bindings that come beside them. */
export type Settings = Readonly<Record<string, unknown>>;

export type Environment = Readonly<Record<string, string | undefined>>;

/** The variables among the settings. */
export function variablesOf(settings: Settings): Environment {
  return Object.fromEntries(
    Object.entries(settings).flatMap(([name, value]) => (typeof value === "string" ? [[name, value]] : [])),
  );
}
