/** The settings: environment variables and, on Workers, the bindings that come beside them. */
export type Settings = Readonly<Record<string, unknown>>;

export type Environment = Readonly<Record<string, string | undefined>>;

/** The variables among the settings; a Worker's may be JSON, which is a string everywhere else. */
export function variablesOf(settings: Settings): Environment {
  return Object.fromEntries(
    Object.entries(settings).flatMap(([name, value]) => {
      if (typeof value === "string") return [[name, value]];
      return Array.isArray(value) ? [[name, JSON.stringify(value)]] : [];
    }),
  );
}
