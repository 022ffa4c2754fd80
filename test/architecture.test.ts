// Rules for the source that the linter cannot check: direction of imports, location of knowledge, length of files.
import { readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import ts from 'typescript'

const ROOT = fileURLToPath(new URL('../', import.meta.url))
const FOLDERS = ['src', 'plugins', 'routes', 'drizzle'] as const
const MAX_LINES = 250

/** Tables that grow with the product. Their length is not capped. */
const TABLES = ['src/commands.ts', 'src/config.ts', 'src/errors.ts', 'src/query/lookups.ts']

interface Import {
  /** A path from the root, or a package name with the path inside the package. */
  target: string
  local: boolean
  typeOnly: boolean
}

interface Source {
  path: string
  text: string
  imports: Import[]
  /** All syntax nodes outside imports. */
  nodes: ts.Node[]
}

function read(path: string): Source {
  const text = readFileSync(join(ROOT, path), 'utf8')
  const imports: Import[] = []
  const nodes: ts.Node[] = []
  const add = (specifier: ts.Node, typeOnly: boolean) => {
    if (!ts.isStringLiteralLike(specifier)) return
    const local = specifier.text.startsWith('.')
    imports.push({ target: local ? join(dirname(path), specifier.text) : specifier.text, local, typeOnly })
  }
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) {
      const bindings = node.importClause?.namedBindings
      const allTypes =
        bindings && ts.isNamedImports(bindings) && !node.importClause?.name && bindings.elements.every(({ isTypeOnly }) => isTypeOnly)
      add(node.moduleSpecifier, Boolean(node.importClause?.isTypeOnly || allTypes))
      return
    }
    if (ts.isExportDeclaration(node) && node.moduleSpecifier) add(node.moduleSpecifier, node.isTypeOnly)
    if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal, true)
    if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword && node.arguments[0])
      add(node.arguments[0], false)
    nodes.push(node)
    ts.forEachChild(node, visit)
  }
  visit(ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true))
  return { path, text, imports, nodes }
}

const sources = FOLDERS.flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => read(relative(ROOT, join(entry.parentPath, entry.name)))),
)

const within = (path: string, folder: string) => path.startsWith(`${folder}/`)

/** Entry points that connect the parts and may import all of them. */
const COMPOSING = ['src/app.ts', 'src/server.ts', 'src/command-line.ts']

/** The folders from which each folder may import. */
const MAY_IMPORT: Record<(typeof FOLDERS)[number], readonly string[]> = {
  drizzle: ['drizzle'],
  src: ['drizzle', 'src'],
  plugins: ['drizzle', 'src', 'package.json'],
  routes: ['src'],
}

const DRIVERS = ['better-sqlite3', 'pg', 'drizzle-orm/better-sqlite3', 'drizzle-orm/node-postgres', 'drizzle-orm/pg-core']

/** Rules, each with a function that returns the offences of a source file. */
const rules: Record<string, (source: Source) => string[]> = {
  'imports run one way: drizzle ← src ← plugins, and routes know src only': ({ path, imports }) => {
    if (COMPOSING.includes(path)) return []
    const allowed = MAY_IMPORT[path.split('/', 1)[0] as (typeof FOLDERS)[number]]
    return imports
      .filter(({ local, target }) => local && !allowed.some((folder) => target === folder || within(target, folder)))
      .map(({ target }) => target)
  },
  'a dialect is known in drizzle/ only': ({ path, imports }) =>
    imports.filter(({ target }) => !within(path, 'drizzle') && /^drizzle\/(sqlite|pg)\//.test(target)).map(({ target }) => target),
  'drivers are known in drizzle/ only, and to the others as types': ({ path, imports }) =>
    imports
      .filter(
        ({ target, typeOnly }) =>
          !within(path, 'drizzle') && (DRIVERS.includes(target) || (target === 'drizzle-orm/sqlite-core' && !typeOnly)),
      )
      .map(({ target }) => target),
  'the frameworks are known outside drizzle/ only': ({ path, imports }) =>
    imports.filter(({ target }) => within(path, 'drizzle') && /fastify|typebox/.test(target)).map(({ target }) => target),
  'the environment is read in src/config.ts only': ({ path, nodes }) =>
    path === 'src/config.ts'
      ? []
      : nodes.filter((node) => ts.isPropertyAccessExpression(node) && node.getText() === 'process.env').map(position),
  'no type is any': ({ nodes }) => nodes.filter(({ kind }) => kind === ts.SyntaxKind.AnyKeyword).map(position),
  'no check is switched off without a reason': ({ text }) => text.match(/@ts-\w+|biome-ignore (?!.+: \S).*|eslint-disable.*/g) ?? [],
  // Query types are SQLite's for both databases, and their names say so.
  'no code asks which database it has': ({ path, nodes }) => {
    if (within(path, 'drizzle') || path === 'src/config.ts') return []
    const names = nodes
      .filter(ts.isIdentifier)
      .filter((node) => /sqlite|postgres|^pg(?![a-z])/i.test(node.text) && !/^SQLite[A-Z]/.test(node.text))
    const texts = nodes.filter((node) => ts.isStringLiteralLike(node) || ts.isTemplateHead(node) || ts.isTemplateMiddleOrTemplateTail(node))
    return [...names, ...texts.filter((node) => /\b(sqlite|postgres(ql)?|pg)\b/i.test(node.getText()))].map(position)
  },
  [`no file except a growing table has more than ${MAX_LINES} lines`]: ({ path, text }) => {
    if (TABLES.includes(path)) return []
    const lines = text.split('\n').length - 1
    return lines > MAX_LINES ? [`${lines}`] : []
  },
  'a file says first what it is for': ({ path, text }) => {
    const saysItself = within(path, 'routes') || within(path, 'src/resources') || path.endsWith('drizzle.config.ts')
    return saysItself || /^(#!.*\n)?\/\/ \S.{10,}/.test(text) ? [] : [text.split('\n', 1)[0] ?? '']
  },
}

function position(node: ts.Node): string {
  const { line } = node.getSourceFile().getLineAndCharacterOfPosition(node.getStart())
  return `${line + 1}: ${node.getText()}`
}

t.test('every source file follows the rules', async (t) => {
  t.ok(
    FOLDERS.every((folder) => sources.some(({ path }) => within(path, folder))),
    'every folder has source files',
  )
  t.ok(sources.reduce((sum, { imports }) => sum + imports.length, 0) > sources.length, 'the source files have imports')
  for (const [rule, offencesOf] of Object.entries(rules)) {
    const offences = sources.flatMap((source) => offencesOf(source).map((offence) => `${source.path}: ${offence}`))
    t.strictSame(offences, [], rule)
  }
})

t.test('imports form no cycle', async (t) => {
  const targets = new Map(sources.map(({ path, imports }) => [path, imports.filter(({ local, typeOnly }) => local && !typeOnly)]))
  const circles: string[] = []
  const follow = (path: string, trail: readonly string[]): void => {
    if (trail.includes(path)) circles.push([...trail.slice(trail.indexOf(path)), path].join(' → '))
    else for (const { target } of targets.get(path) ?? []) follow(target, [...trail, path])
  }
  for (const path of targets.keys()) follow(path, [])
  t.strictSame(circles, [])
})

t.test('a plugin has the name of its file and declares the plugins that it uses', async (t) => {
  const plugins = sources
    .filter(({ path }) => within(path, 'plugins'))
    .map(({ path, text }) => {
      const [, name] = /^ {2}\{ name: '([^']+)'/m.exec(text) ?? []
      const [, dependencies = ''] = /dependencies: \[([^\]]*)\]/.exec(text) ?? []
      return {
        file: basename(path, '.ts'),
        name,
        dependencies: [...dependencies.matchAll(/'([^']+)'/g)].map(([, name]) => name),
        decorators: [...text.matchAll(/\.decorate(?:Request|Reply)?\('(\w+)'/g)].map(([, name]) => name),
        usedNames: [...text.matchAll(/\bapp\.(\w+)/g)].map(([, name]) => name),
      }
    })
  for (const { file, name, dependencies, usedNames } of plugins) {
    t.equal(name, file)
    const others = plugins.filter((other) => other.file !== file && other.decorators.some((decorator) => usedNames.includes(decorator)))
    t.strictSame(
      others.map((other) => other.name).filter((other) => !dependencies.includes(other)),
      [],
      `${file} declares the plugins that it uses`,
    )
  }
  t.ok(plugins.some(({ decorators }) => decorators.includes('db')))
})
