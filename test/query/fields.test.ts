// Declarations of fields: faulty ones are refused, and schemas accept the values of the others.
import { Type } from '@sinclair/typebox'
import t from 'tap'
import { choice, decimal, type Field, integer, json, meta, nullable, text } from '../../src/query/fields.ts'
import { compileBody } from '../../src/validate.ts'

const refused: [title: string, declare: () => unknown, message: RegExp][] = [
  [
    'more digits than a number holds exactly',
    () => decimal({ precision: 16, scale: 2 }),
    /precision of a decimal is 16.*from 1 to 15.*rounded/,
  ],
  ['a part of a digit', () => decimal({ precision: 2.5, scale: 2 }), /precision of a decimal is 2\.5/],
  ['no digit before the point', () => decimal({ precision: 2, scale: 2 }), /scale of a decimal of 2 digits is 2.*from 0 to 1/],
  ['fewer than no digits behind the point', () => decimal({ precision: 2, scale: -1 }), /scale.*is -1/],
  ['a default with another scale', () => decimal({ precision: 5, scale: 2, default: '1.5' }), /default of a decimal is "1\.5"/],
  ['a default with too many digits', () => decimal({ precision: 3, scale: 2, default: '10.00' }), /default of a decimal is "10\.00"/],
  ['a default that is no number', () => decimal({ precision: 3, scale: 2, default: 'free' }), /default of a decimal is "free"/],
  ['an integer that JSON does not hold', () => integer({ minimum: 0, maximum: 2 ** 53 }), /range of an integer is 0 to 9007199254740992/],
  ['an empty range', () => integer({ minimum: 2, maximum: 1 }), /range of an integer is 2 to 1.*smaller one first/],
  ['a default beyond its range', () => integer({ minimum: 1, maximum: 5, default: 0 }), /default of an integer is 0/],
  ['lengths the wrong way round', () => text({ minLength: 2, maxLength: 1 }), /length of a text is 2 to 1/],
  ['a default that is too long', () => text({ maxLength: 1, default: 'ab' }), /default of a text is "ab"/],
  ['a default that would be trimmed', () => text({ maxLength: 9, default: ' a' }), /default of a text is " a"/],
  ['a default outside the words', () => choice(['S', 'M'], { default: 'L' as 'S' }), /default of a choice is "L"/],
  ['no words', () => choice([]), /words of a choice are \[\]/],
  ['a word twice', () => choice(['S', 'S']), /words of a choice are \["S","S"\].*each once/],
  ['a word that would be trimmed', () => choice(['S ']), /words of a choice are \["S "\]/],
  ['json that can be null', () => json(Type.Union([Type.String(), Type.Null()])), /accepts null.*nullable\(json/],
  ['json of any kind', () => json(Type.Unknown()), /accepts null.*nullable\(json/],
  ['a default for what is null without one', () => nullable(text({ maxLength: 9, default: '' })), /the default null: leave out/],
]
for (const [title, declare, message] of refused) {
  t.test(`a faulty field is refused at its declaration: ${title}`, async (t) => void t.throws(declare, { name: 'TypeError', message }))
}

/** Fields, with valid and invalid values of records. */
const fields: [title: string, field: Field, values: unknown[], others: unknown[]][] = [
  ['a choice that can be null', nullable(choice(['S', 'M'])), ['S', null], ['L', '']],
  ['a union that can be null', nullable(json(Type.Union([Type.String(), Type.Number()]))), ['a', 1, null], [true, []]],
  ['a constant that can be null', nullable(json(Type.Literal('a'))), ['a', null], ['b']],
  ['a decimal without a fraction', decimal({ precision: 3, scale: 0 }), ['0', '120'], ['1.0', '1000']],
  ['the most digits', decimal({ precision: 15, scale: 2 }), ['9999999999999.99'], ['99999999999999.99']],
]
for (const [title, field, values, others] of fields) {
  t.test(`the schema of a record accepts only its values: ${title}`, async (t) => {
    const check = compileBody(Type.Object({ field: Type.Unsafe(field) }))
    const checkInput = compileBody(Type.Object({ field: field[meta].input }))
    for (const value of values) {
      t.strictSame(check({ field: value }), [], `valid in records: ${value}`)
      t.strictSame(checkInput({ field: value }), [], `valid in bodies: ${value}`)
    }
    for (const value of others) t.equal(check({ field: value }).length > 0, true, `invalid: ${JSON.stringify(value)}`)
  })
}
