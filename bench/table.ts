// Renders tables for a terminal or as Markdown.

export interface Table {
  title: string
  head: readonly string[]
  rows: readonly (readonly string[])[]
}

/** Renders a table. The first column is text, the others are right-aligned figures. */
export function render({ title, head, rows }: Table, markdown: boolean): string {
  const widths = head.map((name, column) => Math.max(name.length, ...rows.map((row) => row[column]?.length ?? 0)))
  const cells = (row: readonly string[]) =>
    widths.map((width, column) => (column === 0 ? (row[column] ?? '').padEnd(width) : (row[column] ?? '').padStart(width)))
  const line = (row: readonly string[]) => (markdown ? `| ${cells(row).join(' | ')} |` : cells(row).join('  '))
  const rule = markdown
    ? `|${widths.map((width, column) => (column === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`
    : widths.map((width) => '-'.repeat(width)).join('  ')
  return [markdown ? `### ${title}\n` : title, line(head), rule, ...rows.map(line), ''].join('\n')
}

/** Formats a figure with three significant digits, or all digits before the point. */
export const formatFigure = (value: number) =>
  value.toLocaleString('en', value >= 100 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 3 })

export const formatVerdict = (isMet: boolean) => (isMet ? 'ok' : 'MISSED')

export const formatMegabytes = (bytes: number) => `${formatFigure(bytes / 2 ** 20)} MB`
