/** Environment variables and, on Workers, also bindings. */
export type Settings = Readonly<Record<string, unknown>>;

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The variables among the settings. A variable of a Worker may be JSON, which becomes a string as on other platforms.
 */
export function variablesOf(settings: Settings): Environment {
  return Object.fromEntries(
    Object.entries(settings).flatMap(([name, value]) => {
      const isBinding = typeof value === "object" && !isPlain(value);
      if (value === undefined || isBinding) return [];
      return [[name, typeof value === "string" ? value : JSON.stringify(value)]];
    }),
  );
}

/** Is the value JSON? A binding is an object of a class. */
function isPlain(value: object | null): boolean {
  return value === null || Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype;
}
