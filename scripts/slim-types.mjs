/**
 * Makes the types of the package small: it keeps what the entries export and what that refers to, and puts it into a few files.
 *
 * - Public names keep their docstrings. Others, and private members, lose theirs.
 * - If a constructor has parameters that are not public, only the library calls it. They become `any`, which Nest's
 *   types accept.
 * - Classes lose `implements`: their members are declared anyway. Those that only the library makes keep one private member, without
 *   which another object could pass for one.
 * - The constants that describe routes lose what only documents and guards read, such as error codes: no type depends on it.
 * - Declarations that the same entries need share a file, so that no entry loads types of a package that it does not need.
 */
import { join, relative } from 'node:path';
import ts from 'typescript';

/**
 * @param directory the folder with the declarations that `tsc` has written
 * @param entries the paths of the entries' declarations below it
 * @returns the texts of the new declarations, by their paths
 * @throws if two declarations cannot share a file
 */
export function slimTypes(directory, entries) {
  const program = ts.createProgram(
    entries.map((entry) => join(directory, entry)),
    { module: ts.ModuleKind.NodeNext, target: ts.ScriptTarget.ES2023, skipLibCheck: true, types: ['node'] },
  );
  return new Slimmer(program.getTypeChecker(), directory).run(
    entries.map((entry) => program.getSourceFile(join(directory, entry))),
  );
}

/** The members of a route's description on which no type depends. All are optional. */
const UNUSED_OF_ROUTE = ['query', 'headers', 'errors', 'session', 'loginGuards'];

class Slimmer {
  /** The exported names of each entry, with their symbols. */
  exports = new Map();
  publicSymbols = new Set();
  /** The entries that need each declaration. */
  neededBy = new Map();

  constructor(checker, directory) {
    this.checker = checker;
    this.directory = directory;
  }

  run(files) {
    for (const file of files) {
      const symbols = this.checker.getExportsOfModule(this.checker.getSymbolAtLocation(file));
      this.exports.set(
        file,
        symbols.map((symbol) => [symbol.name, this.original(symbol)]),
      );
    }
    for (const exported of this.exports.values()) for (const [, symbol] of exported) this.publicSymbols.add(symbol);
    for (const [at, file] of files.entries())
      for (const [, symbol] of this.exports.get(file))
        for (const each of this.statementsOf(symbol)) this.need(each, at);
    const chunks = this.chunks();
    const texts = new Map([...chunks].map(([path, chunk]) => [path, this.textOf(path, chunk)]));
    for (const file of files) texts.set(relative(this.directory, file.fileName), this.entryOf(file));
    return texts;
  }

  /** Marks a declaration, and those that it refers to, as needed by an entry. */
  need(statement, entry) {
    const entries = this.neededBy.get(statement) ?? new Set();
    if (entries.has(entry)) return;
    this.neededBy.set(statement, entries.add(entry));
    this.eachName(statement, (name) => {
      for (const each of this.statementsOf(this.symbolOf(name))) this.need(each, entry);
    });
  }

  /** Divides the declarations among files. Two declarations of one name are in different files. */
  chunks() {
    const chunks = new Map();
    this.chunkOf = new Map();
    for (const [statement, entries] of this.neededBy) {
      const group = [...entries].sort((a, b) => a - b).join('-');
      const names = namesOf(statement);
      for (let turn = 0; !this.chunkOf.has(statement); turn++) {
        const path = `types/${group}${turn === 0 ? '' : String.fromCharCode(96 + turn)}.d.ts`;
        const chunk = chunks.get(path) ?? { statements: [], names: new Map() };
        // Overloads, and an interface and a class that merge, have one name and one file.
        const isFree = names.every((name) => (chunk.names.get(name) ?? fileOf(statement)) === fileOf(statement));
        if (!isFree) continue;
        for (const name of names) chunk.names.set(name, fileOf(statement));
        chunk.statements.push(statement);
        chunks.set(path, chunk);
        this.chunkOf.set(statement, path);
      }
    }
    return chunks;
  }

  /** The text of a file with its imports. */
  textOf(path, { statements, names }) {
    const imports = new Map();
    const bodies = statements.map((statement) => {
      this.eachName(statement, (name) => this.import(name, statement, path, names, imports));
      return this.print(statement);
    });
    const lines = [...imports].map(([module, clauses]) => {
      const named = [...clauses].filter((clause) => !clause.startsWith('* as '));
      const whole = [...clauses].filter((clause) => clause.startsWith('* as '));
      return [
        ...whole.map((clause) => `import type ${clause} from '${module}';\n`),
        ...(named.length > 0 ? [`import type { ${named.sort().join(', ')} } from '${module}';\n`] : []),
      ].join('');
    });
    return `${lines.join('')}${bodies.join('\n')}\n`;
  }

  /** Adds what a name needs to the imports of a file. */
  import(name, statement, path, names, imports) {
    const add = (module, clause) => imports.set(module, (imports.get(module) ?? new Set()).add(clause));
    const [own] = this.statementsOf(this.symbolOf(name));
    if (own) {
      const declared = this.symbolOf(name).name;
      const from = this.chunkOf.get(own);
      if (from === path) return;
      if (names.has(declared)) throw new Error(`two declarations of ${declared} meet in ${path}: rename one`);
      add(`./${from.slice('types/'.length, -'.d.ts'.length)}.js`, declared);
      return;
    }
    const declaration = this.checker.getSymbolAtLocation(name)?.declarations?.[0];
    if (!declaration || declaration.getSourceFile() !== statement.getSourceFile()) return;
    if (ts.isImportSpecifier(declaration)) {
      const { propertyName, name: local } = declaration;
      const clause = propertyName ? `${propertyName.text} as ${local.text}` : local.text;
      add(declaration.parent.parent.parent.moduleSpecifier.text, clause);
    } else if (ts.isNamespaceImport(declaration)) {
      add(declaration.parent.parent.moduleSpecifier.text, `* as ${declaration.name.text}`);
    } else if (ts.isImportClause(declaration)) {
      add(declaration.parent.moduleSpecifier.text, `default as ${declaration.name.text}`);
    }
  }

  entryOf(file) {
    const depth = '../'.repeat(relative(this.directory, file.fileName).split('/').length - 1) || './';
    const byChunk = new Map();
    for (const [exported, symbol] of this.exports.get(file)) {
      const [statement] = this.statementsOf(symbol);
      if (!statement) throw new Error(`${file.fileName} exports ${exported}, which is not declared here`);
      const path = `${depth}${this.chunkOf.get(statement).replace(/\.d\.ts$/, '.js')}`;
      const clause = symbol.name === exported ? exported : `${symbol.name} as ${exported}`;
      byChunk.set(path, [...(byChunk.get(path) ?? []), clause]);
    }
    return [...byChunk].map(([path, clauses]) => `export { ${clauses.join(', ')} } from '${path}';\n`).join('');
  }

  /** The text of a declaration, which is exported. */
  print(statement) {
    const file = statement.getSourceFile();
    const isPublic = this.isPublic(statement);
    const start = isPublic ? statement.getFullStart() : statement.getStart(file);
    const cuts = [];
    const cutComments = (node) => {
      for (const { pos, end } of ts.getLeadingCommentRanges(file.text, node.getFullStart()) ?? [])
        cuts.push([pos, end, '']);
    };
    const visit = (node) => {
      if (this.isUnused(node)) return void cuts.push([node.getFullStart(), node.end, '']);
      if (this.isInternalConstructor(node))
        cuts.push([node.getStart(file), node.end, 'constructor(...internal: any[]);']);
      else if (ts.isImportTypeNode(node) && this.statementsOf(this.symbolOf(node.qualifier)).length > 0)
        cuts.push([node.getStart(file), node.qualifier.end, node.qualifier.getText(file)]);
      else if (ts.isPropertySignature(node) && isRoute(node.parent) && node.name.text === 'summary')
        cuts.push([node.type.getStart(file), node.type.end, 'string']);
      const isMember = node !== statement && (ts.isClassElement(node) || ts.isTypeElement(node));
      if (isMember && (!isPublic || isPrivate(node))) cutComments(node);
      ts.forEachChild(node, visit);
    };
    visit(statement);
    this.eachName(statement, (name) => {
      const symbol = this.symbolOf(name);
      // An import may have given it another name.
      if (this.statementsOf(symbol).length > 0 && symbol.name !== name.text)
        cuts.push([name.getStart(file), name.end, symbol.name]);
    });
    let text = file.text.slice(start, statement.end);
    for (const [from, to, by] of cuts.sort((a, b) => b[0] - a[0]))
      text = text.slice(0, from - start) + by + text.slice(to - start);
    const lines = text.split('\n').filter((line) => line.trim() !== '');
    const body = lines.map((line) => line.replace(/^( {4})+/, (indent) => ' '.repeat(indent.length / 4))).join('\n');
    return isExported(statement) ? body : body.replace(/^(?=declare |interface |type )/m, 'export ');
  }

  /** Calls back for each name in a declaration, except for those in a part that `print` leaves out. */
  eachName(statement, callback) {
    const visit = (node) => {
      if (this.isInternalConstructor(node) || this.isUnused(node)) return;
      if (ts.isIdentifier(node)) callback(node);
      ts.forEachChild(node, visit);
    };
    visit(statement);
  }

  /** Whether no type depends on this part of a declaration. */
  isUnused(node) {
    if (ts.isHeritageClause(node)) return node.token === ts.SyntaxKind.ImplementsKeyword;
    if (!ts.isClassDeclaration(node.parent) || !isPrivate(node)) return isUnusedOfRoute(node);
    const { members } = node.parent;
    return members.some((member) => this.isInternalConstructor(member)) && members.find(isPrivate) !== node;
  }

  isInternalConstructor(node) {
    if (!ts.isConstructorDeclaration(node)) return false;
    let isInternal = false;
    const visit = (child) => {
      if (ts.isTypeReferenceNode(child) && ts.isIdentifier(child.typeName)) {
        const symbol = this.symbolOf(child.typeName);
        if (this.statementsOf(symbol).length > 0 && !this.publicSymbols.has(symbol)) isInternal = true;
      }
      ts.forEachChild(child, visit);
    };
    node.parameters.forEach(visit);
    return isInternal;
  }

  isPublic(statement) {
    return [...this.publicSymbols].some((symbol) => this.statementsOf(symbol).includes(statement));
  }

  symbolOf(name) {
    const symbol = this.checker.getSymbolAtLocation(name);
    return symbol && this.original(symbol);
  }

  original(symbol) {
    return symbol.flags & ts.SymbolFlags.Alias ? this.checker.getAliasedSymbol(symbol) : symbol;
  }

  /** The statements of the package that declare a symbol. None for type parameters, members and other packages. */
  statementsOf(symbol) {
    const declarations = symbol?.declarations ?? [];
    return declarations
      .map(statementOf)
      .filter((statement) => statement && fileOf(statement).startsWith(this.directory));
  }
}

/** The statement of a module that is this declaration. Undefined for members, parameters and the like. */
function statementOf(declaration) {
  if (ts.isVariableDeclaration(declaration)) return declaration.parent.parent;
  return ts.isStatement(declaration) && ts.isSourceFile(declaration.parent) ? declaration : undefined;
}

/** Whether this is the type of a route in a constant such as `SESSION_ROUTES`. */
function isRoute(node) {
  return (
    ts.isTypeLiteralNode(node) &&
    ['summary', 'method', 'auth'].every((name) => node.members.some((member) => member.name?.text === name))
  );
}

function isUnusedOfRoute(node) {
  return ts.isPropertySignature(node) && UNUSED_OF_ROUTE.includes(node.name.text) && isRoute(node.parent);
}

function namesOf(statement) {
  if (ts.isVariableStatement(statement)) return statement.declarationList.declarations.map(({ name }) => name.text);
  return [statement.name.text];
}

const fileOf = (statement) => statement.getSourceFile().fileName;
const isExported = ({ modifiers }) => modifiers?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword) === true;
const isPrivate = ({ modifiers }) => modifiers?.some(({ kind }) => kind === ts.SyntaxKind.PrivateKeyword) === true;
