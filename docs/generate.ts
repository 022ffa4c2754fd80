// Writes the parts of the documentation that repeat the code: `npm run docs`. Everything between the two marks of a page is replaced.
import { readFileSync, writeFileSync } from 'node:fs'
import { commands } from '../src/commands.ts'
import { Config } from '../src/config.ts'

const ROOT = new URL('../', import.meta.url)
const BEGIN = '<!-- begin: npm run docs -->\n'
const END = '<!-- end -->\n'

interface Setting {
  default?: unknown
  description?: string
  minimum?: number
  maximum?: number
  enum?: readonly string[]
}

const settings = Object.entries<Setting>(Config.properties)

const code = (text: unknown): string => (text === '' ? '' : `\`${text}\``)

const row = (...cells: string[]): string => `| ${cells.join(' | ')} |`.replaceAll('|  |', '| |')

function describeValues({ enum: words, minimum, maximum, default: fallback }: Setting): string {
  if (words) return words.map(code).join(', ')
  if (minimum !== undefined) return `${minimum} to ${maximum}`
  return typeof fallback === 'boolean' ? '`true`, `false`' : 'text'
}

const settingTable = (): string[] => [
  row('name', 'default', 'values', 'meaning'),
  '|---|---|---|---|',
  ...settings.map(([name, setting]) => row(code(name), code(setting.default), describeValues(setting), setting.description ?? '')),
]

const settingFile = (): string[] => [
  '# Settings for `npm run dev`. Copy this file to .env and remove the # in front of a setting to change it.',
  ...settings.flatMap(([name, { default: fallback, description }]) => ['', `# ${description}`, `#${name}=${fallback}`]),
]

function commandSections(): string[] {
  const overview = Object.entries(commands).map(([name, { argument, summary }]) =>
    row(code(argument ? `${name} ${argument[0]}` : name), summary),
  )
  const details = Object.entries(commands)
    .filter(([, { argument, options = [] }]) => argument || options.length > 0)
    .flatMap(([name, { argument, options = [] }]) => [
      '',
      `### ${name}`,
      '',
      row('argument or option', 'meaning'),
      '|---|---|',
      ...(argument ? [row(code(argument[0]), argument[1])] : []),
      ...options.map(({ flags, description, mandatory, argChoices, defaultValue }) => {
        const notes = [
          ...(mandatory ? ['required'] : []),
          ...(argChoices ? [argChoices.map(code).join(', ')] : []),
          ...(defaultValue === undefined ? [] : [`default ${code(defaultValue)}`]),
        ]
        return row(code(flags), description + (notes.length > 0 ? ` (${notes.join('; ')})` : ''))
      }),
    ])
  return [row('command', 'does'), '|---|---|', ...overview, ...details]
}

/** The files, each with the function that returns the lines between its marks, or all lines of a file without marks. */
const parts: Record<string, () => string[]> = {
  'docs/configuration.md': settingTable,
  'docs/cli.md': commandSections,
  '.env.example': settingFile,
}

/** Returns the text that a file should have. Throws an Error where a page has no marks. */
export function generate(file: string): string {
  const text = `${parts[file]?.().join('\n')}\n`
  if (!file.endsWith('.md')) return text
  const page = readFileSync(new URL(file, ROOT), 'utf8')
  const [before, rest = ''] = page.split(BEGIN)
  const [, after] = rest.split(END)
  if (after === undefined) throw new Error(`${file} has no line ${BEGIN}or no line ${END}`)
  return `${before}${BEGIN}\n${text}\n${END}${after}`
}

export const files: readonly string[] = Object.keys(parts)

if (import.meta.main) for (const file of files) writeFileSync(new URL(file, ROOT), generate(file))
