import { dirname, join, relative } from 'node:path';
import ts from 'typescript';
import { ROOT } from './documents.js';

/** Returns the compiler options of the repository, which are strict and resolve the library by its package name. */
export function compilerOptions(): ts.CompilerOptions {
  const file = ts.readConfigFile(join(ROOT, 'tsconfig.json'), (path) => ts.sys.readFile(path));
  const { options } = ts.parseJsonConfigFileContent(file.config, ts.sys, ROOT);
  return { ...options, noEmit: true, types: ['node'] };
}

/** Creates a program of the library's own files. It reads no packages, so types that come from them are unknown. */
export function libraryProgram(paths: readonly string[]): ts.Program {
  const options: ts.CompilerOptions = { ...compilerOptions(), noLib: true, types: [] };
  const host = ts.createCompilerHost(options);
  host.fileExists = (path) => !path.includes('/node_modules/') && ts.sys.fileExists(path);
  return ts.createProgram(paths, options, host);
}

/**
 * Type-checks modules that are not on disk, all in one program.
 *
 * @param modules texts by path
 * @param platform `browser` adds the types of the DOM, and JSX
 * @returns the errors, each with its path and line
 */
export function typeErrors(modules: ReadonlyMap<string, string>, platform: 'node' | 'browser' = 'node'): string[] {
  // Strict applications set `exactOptionalPropertyTypes`. The library's own files are not checked here.
  const strict = { exactOptionalPropertyTypes: true, moduleDetection: ts.ModuleDetectionKind.Force };
  const options = { ...compilerOptions(), ...strict };
  if (platform === 'browser') {
    options.lib = [...(options.lib ?? []), 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'];
    options.jsx = ts.JsxEmit.ReactJSX;
  }
  const program = ts.createProgram([...modules.keys()], options, hostWith(modules, options));
  const diagnostics = [
    ...program.getOptionsDiagnostics(),
    ...program.getGlobalDiagnostics(),
    ...[...modules.keys()].flatMap((path) => {
      const source = program.getSourceFile(path);
      return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)];
    }),
  ];
  return diagnostics.map(describeDiagnostic);
}

/** Parsed files from disk. All programs share them, because parsing takes longer than checking a few modules. */
const parsed = new Map<string, ts.SourceFile | undefined>();

function hostWith(modules: ReadonlyMap<string, string>, options: ts.CompilerOptions): ts.CompilerHost {
  const host = ts.createCompilerHost(options);
  const folders = new Set([...modules.keys()].flatMap(foldersOf));
  host.fileExists = (path) => modules.has(path) || ts.sys.fileExists(path);
  host.readFile = (path) => modules.get(path) ?? ts.sys.readFile(path);
  host.directoryExists = (path) => folders.has(path) || ts.sys.directoryExists(path);
  const getSourceFile = host.getSourceFile.bind(host);
  host.getSourceFile = (path, version, ...rest) => {
    const text = modules.get(path);
    if (text !== undefined) return ts.createSourceFile(path, text, version, true);
    if (!parsed.has(path)) parsed.set(path, getSourceFile(path, version, ...rest));
    return parsed.get(path);
  };
  return host;
}

function foldersOf(path: string): string[] {
  const folder = dirname(path);
  return folder === ROOT ? [] : [folder, ...foldersOf(folder)];
}

function describeDiagnostic({ file, start = 0, messageText }: ts.Diagnostic): string {
  const text = ts.flattenDiagnosticMessageText(messageText, '\n');
  if (!file) return text;
  const { line } = file.getLineAndCharacterOfPosition(start);
  return `${relative(ROOT, file.fileName)}:${line + 1}: ${text}`;
}
