// The life of an API key: create, list, change, rotate and revoke. The database holds only the hash of its secret.
import crypto from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'
import { setTimeout } from 'node:timers/promises'
import type { InjectOptions } from 'fastify'
import type { Test } from 'tap'
import { KEY_CACHE_TTL } from '../../src/auth/keyring.ts'
import { createFirstKey, issueKey, revokeKey, rotateKey } from '../../src/auth/keys.ts'
import { sha256 } from '../../src/auth/token.ts'
import { COMMAND_LINE } from '../../src/changelog/record.ts'
import type { App } from '../../src/http/routes.ts'
import { connect, existing } from '../dialects.ts'
import { ask, build, onEach } from '../helper.ts'

const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
const TOKEN = /^stk_\d+_[0-9a-f]{48}$/
const STAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

/** Returns 200 for a key with every permission, and 401 for an invalid one. */
const readStatus = async (app: App, token: string) => (await ask(app, 'GET', '/api/keys/', undefined, bearer(token))).status

/** Returns all rows of the tables that concern keys, as text. */
async function dumpTables(t: Test, app: App): Promise<string> {
  const query = await connect(t, app.config.DATABASE_URL)
  const tables = ['keys', 'key_secrets', 'changes', 'keys_search', 'stockroom_secrets']
  const rows: unknown[] = []
  // A connection runs one statement at a time, so the queries run one after the other.
  for (const table of tables) rows.push(await query(`select * from ${table}`))
  return JSON.stringify(rows)
}

onEach('a new key is shown once, and the database holds only its hash', async (t, dialect) => {
  const app = await build(t, dialect)
  const { status, headers, body } = await ask(app, 'POST', '/api/keys/', { name: ' Warehouse ', role: 'admin' })
  t.equal(status, 201)
  t.equal(headers['cache-control'], 'no-store')
  t.match(headers.location, new RegExp(`/api/keys/${body.id}/$`))
  t.match(body, { name: 'Warehouse', role: 'admin', key: TOKEN, last_used_at: null, expires_at: null, revoked_at: null, version: 1 })
  t.match(body.created_at, STAMP)
  t.ok(body.key.startsWith(`stk_${body.id}_`))
  t.equal(await readStatus(app, body.key), 200)

  const { key, ...record } = body
  const { body: read } = await ask(app, 'GET', `/api/keys/${body.id}/`)
  t.match(read, { id: record.id, name: 'Warehouse', role: 'admin', created_at: record.created_at })
  t.strictSame(Object.keys(read), Object.keys(record), 'without the secret')
  const { body: list } = await ask(app, 'GET', '/api/keys/?search=ware&role=admin&ordering=-created_at')
  t.strictSame(
    list.results.map((row: object) => Object.keys(row)),
    [Object.keys(record)],
  )
  const all = await dumpTables(t, app)
  const [, , secret] = key.split('_')
  t.ok(all.includes(sha256(secret)), 'the database has the hash')
  t.notOk(all.includes(secret), 'the database does not have the secret')
  const query = await connect(t, app.config.DATABASE_URL)
  const logged = JSON.stringify(await query('select * from changes'))
  t.ok(logged.includes('Warehouse'), 'the log records the new key')
  t.notOk(logged.includes(sha256(secret)), 'the log does not have the hash')
})

onEach('invalid requests for a key create none, and name each fault', async (t, dialect) => {
  const app = await build(t, dialect)
  const cases: [object, object[]][] = [
    [{}, [{ pointer: '/name' }, { pointer: '/role' }]],
    [{ name: '', role: 'root' }, [{ pointer: '/name' }, { pointer: '/role', allowed: ['read', 'write', 'admin'] }]],
    [
      { name: 'A', role: 'wirte' },
      [{ pointer: '/role', detail: 'is not one of the allowed values; did you mean write?', suggestion: 'write' }],
    ],
    [{ name: '', role: 'read' }, [{ pointer: '/name', detail: 'must have at least 1 character' }]],
    [{ name: 'A', role: 'read', secret: 'x' }, [{ pointer: '/secret', detail: /is not known/ }]],
    [{ name: 'A', role: 'read', expires_at: 'soon' }, [{ pointer: '/expires_at' }]],
    [{ name: 'A', role: 'read', expires_at: '2020-01-01' }, [{ pointer: '/expires_at', detail: 'is in the past' }]],
  ]
  for (const [payload, errors] of cases) {
    const { status, body } = await ask(app, 'POST', '/api/keys/', payload)
    t.equal(status, 400, JSON.stringify(payload))
    t.match(body, { code: 'invalid-request', errors })
    t.equal(body.errors.length, errors.length)
  }
  t.equal((await ask(app, 'GET', '/api/keys/')).body.count, 1, 'the only key is that of the request')
  t.equal((await ask(app, 'PUT', '/api/keys/1/', { name: 'A', role: 'read' })).status, 405, 'a key cannot be replaced')
  for (const url of ['/api/keys/99/', '/api/keys/x/']) {
    for (const method of ['GET', 'PATCH', 'DELETE'] as const)
      t.equal((await ask(app, method, url, method === 'PATCH' ? {} : undefined)).status, 404)
    t.equal((await ask(app, 'POST', `${url}rotate/`)).status, 404)
  }
})

onEach('the instance that revokes or rotates a key refuses it at once, as it does an expired one', async (t, dialect) => {
  const app = await build(t, dialect)
  const createKey = async (more = {}) => (await ask(app, 'POST', '/api/keys/', { name: 'A', role: 'admin', ...more })).body

  const revoked = await createKey()
  t.equal(await readStatus(app, revoked.key), 200)
  t.strictSame(await ask(app, 'DELETE', `/api/keys/${revoked.id}/`).then(({ status, body }) => [status, body]), [204, undefined])
  t.equal(await readStatus(app, revoked.key), 401)
  const { body: record } = await ask(app, 'GET', `/api/keys/${revoked.id}/`)
  t.match(record.revoked_at, STAMP, 'its record stays')
  t.equal((await ask(app, 'DELETE', `/api/keys/${revoked.id}/`)).status, 204, 'a second DELETE succeeds')
  t.strictSame((await ask(app, 'GET', `/api/keys/${revoked.id}/`)).body, record, 'the second DELETE changes nothing')
  t.match(await ask(app, 'POST', `/api/keys/${revoked.id}/rotate/`), { status: 409, body: { code: 'key-revoked' } })

  const rotated = await createKey()
  t.equal(await readStatus(app, rotated.key), 200)
  const { status, headers, body } = await ask(app, 'POST', `/api/keys/${rotated.id}/rotate/`)
  t.match({ status, headers, body }, { status: 200, headers: { 'cache-control': 'no-store' }, body: { id: rotated.id, key: TOKEN } })
  t.not(body.key, rotated.key)
  const withBody = await ask(app, 'POST', `/api/keys/${rotated.id}/rotate/`, { grace: 60 })
  t.match(
    withBody,
    { status: 400, body: { errors: [{ pointer: '', detail: /is not read here/ }] } },
    'the body is refused because this route reads none',
  )
  t.equal(await readStatus(app, rotated.key), 401)
  t.equal(await readStatus(app, body.key), 200)

  const expiring = await createKey({ expires_at: new Date(Date.now() + 400).toISOString() })
  t.equal(await readStatus(app, expiring.key), 200)
  await setTimeout(Date.parse(expiring.expires_at) - Date.now() + 1)
  t.equal(await readStatus(app, expiring.key), 401)
  const longer = { expires_at: new Date(Date.now() + 3_600_000).toISOString() }
  t.match(await ask(app, 'PATCH', `/api/keys/${expiring.id}/`, longer), { status: 200, body: longer })
  t.equal(await readStatus(app, expiring.key), 200, 'a later expiry makes the key valid again')
})

/** Ways to end an admin key. */
const endings: [method: 'PATCH' | 'DELETE', body?: object][] = [
  ['DELETE'],
  ['PATCH', { role: 'write' }],
  ['PATCH', { role: 'read', name: 'Demoted' }],
  ['PATCH', { expires_at: '2020-01-01' }],
]

onEach('the last valid admin key cannot end itself over HTTP', async (t, dialect) => {
  const app = await build(t, dialect)
  const issue = (body: object) => ask(app, 'POST', '/api/keys/', { name: 'A', ...body }).then(({ body }) => body)
  const end = (id: number, [method, body]: (typeof endings)[number]) => ask(app, method, `/api/keys/${id}/`, body)
  const refused = { status: 409, body: { code: 'last-admin-key', detail: /^Key 1 is the last valid admin key\. Create another/ } }
  await issue({ role: 'write' })
  await end((await issue({ role: 'admin' })).id, ['DELETE'])
  await end((await issue({ role: 'admin' })).id, ['PATCH', { expires_at: '2020-01-01' }])
  const { body: before } = await ask(app, 'GET', '/api/keys/1/')
  for (const ending of endings) t.match(await end(1, ending), refused, JSON.stringify(ending))
  t.strictSame((await ask(app, 'GET', '/api/keys/1/')).body, before, 'the key is unchanged')
  const harmless = { name: 'Renamed', role: 'admin', expires_at: '2099-01-01' }
  t.match(await ask(app, 'PATCH', '/api/keys/1/', harmless), { status: 200 }, 'a change that keeps the key valid is allowed')
  for (const ending of endings) {
    const { id } = await issue({ role: 'admin' })
    t.match(await end(id, ending), { status: ending[0] === 'DELETE' ? 204 : 200 }, 'with another admin key')
    t.match(await end(id, ending), { status: ending[0] === 'DELETE' ? 204 : 200 }, 'once more')
  }
  await issue({ role: 'admin', expires_at: '2099-01-01' })
  t.match(await end(1, ['DELETE']), { status: 204 }, 'another valid admin key is enough')
})

onEach('concurrent revocations among admin keys leave one valid', async (t, dialect) => {
  const app = await build(t, dialect)
  for (let round = 0; round < 5; round++) {
    const issued = await Promise.all([1, 2, 3, 4].map(() => issueKey(app.db, { name: 'A', role: 'admin' }, COMMAND_LINE)))
    const { results } = (await ask(app, 'GET', '/api/keys/?role=admin&revoked_at__isnull=true', undefined, bearer(issued[0]?.token ?? '')))
      .body
    for (const { id } of results) if (!issued.some(({ record }) => record.id === id)) await revokeKey(app.db, id, COMMAND_LINE)
    // Each key revokes the next one, and all are cached as valid.
    for (const { token } of issued) t.equal(await readStatus(app, token), 200)
    const answers = await Promise.all(
      issued.map(({ token }, place) => {
        const { record } = issued[(place + 1) % issued.length] ?? {}
        return ask(app, 'DELETE', `/api/keys/${record?.id}/`, undefined, bearer(token))
      }),
    )
    t.strictSame(answers.map(({ status }) => status).sort(), [204, 204, 204, 409])
    const valid = await Promise.all(issued.map(({ token }) => app.keyring.verify(token)))
    t.equal(valid.filter((verdict) => 'key' in verdict).length, 1)
  }
})

onEach('the command line revokes the last admin key', async (t, dialect) => {
  const app = await build(t, dialect)
  t.match(await revokeKey(app.db, 1, COMMAND_LINE), { revoked_at: STAMP })
})

onEach('a change of a key by another process takes effect within a second', async (t, dialect) => {
  const app = await build(t, dialect)
  const other = await build(t, existing(dialect, app.config.DATABASE_URL))
  for (const spoil of [revokeKey, rotateKey]) {
    const { record, token } = await issueKey(app.db, { name: 'A', role: 'admin' }, COMMAND_LINE)
    t.equal(await readStatus(other, token), 200)
    await spoil(app.db, record.id, COMMAND_LINE)
    await setTimeout(KEY_CACHE_TTL + 1)
    t.equal(await readStatus(other, token), 401, spoil.name)
  }
})

onEach('the last use of a key is recorded, at most once in five minutes', async (t, dialect) => {
  const app = await build(t, dialect)
  const { record, token } = await issueKey(app.db, { name: 'A', role: 'admin' }, COMMAND_LINE)
  const query = await connect(t, app.config.DATABASE_URL)
  const readLastUse = async () => {
    await app.keyring.close()
    const [row] = await query(`select last_used_at, version from keys where id = ${record.id}`)
    return row
  }
  t.match(await readLastUse(), { last_used_at: null })
  await readStatus(app, token)
  const first = await readLastUse()
  t.ok(first?.last_used_at)
  app.keyring.forget(record.id)
  await readStatus(app, token)
  t.strictSame(await readLastUse(), first, 'a second use soon after is not recorded')
  const before = dialect.name === 'pg' ? "now() - interval '6 minutes'" : String(Date.now() - 6 * 60_000)
  await query(`update keys set last_used_at = ${before} where id = ${record.id}`)
  app.keyring.forget(record.id)
  await readStatus(app, token)
  t.ok(new Date(String((await readLastUse())?.last_used_at)).getTime() || Number((await readLastUse())?.last_used_at))
  t.equal((await query('select * from changes')).length, 2, 'the last use adds nothing to the log, which has the two new keys')
})

onEach('the first key', async (t, dialect) => {
  const open = async (t: Test) => {
    const app = await build(t, dialect)
    const query = await connect(t, app.config.DATABASE_URL)
    for (const table of ['key_secrets', 'keys', 'changes']) await query(`delete from ${table}`)
    return app
  }
  await t.test('concurrent starts create one first key', async (t) => {
    const app = await open(t)
    const tokens = await Promise.all(Array.from({ length: 5 }, () => createFirstKey(app.db, '')))
    const [token = '', ...others] = tokens.filter((token) => token !== undefined)
    t.strictSame(others, [])
    t.match(token, TOKEN)
    t.equal(await readStatus(app, token), 200)
    t.equal(await createFirstKey(app.db, ''), undefined)
  })
  await t.test('a configured first key is stored with the id in its text', async (t) => {
    const app = await open(t)
    const configured = `stk_1_${'Ab3'.repeat(20)}`
    t.equal(await createFirstKey(app.db, configured), configured)
    t.equal(await readStatus(app, configured), 200)
    const query = await connect(t, app.config.DATABASE_URL)
    const logged = (await query('select operation, record_id from changes')).map(({ operation, record_id }) => [
      operation,
      Number(record_id),
    ])
    t.strictSame(logged, [['create', 1]], 'the log records it')
    const { body } = await ask(app, 'POST', '/api/keys/', { name: 'Next', role: 'read' }, bearer(configured))
    t.ok(body.id > 1, 'the next key gets another id')
    t.equal(await createFirstKey(app.db, `stk_1_${'Xy9'.repeat(20)}`), undefined, 'an existing key is never replaced')
    t.equal(await readStatus(app, configured), 200)
  })
})

onEach('a key revoked during its verification is not remembered as valid', async (t, dialect) => {
  const app = await build(t, dialect)
  const { record, token } = await issueKey(app.db, { name: 'A', role: 'admin' }, COMMAND_LINE)
  const { readRows: rows } = app.db
  let revoked = false
  app.db.readRows = async (...query) => {
    const result = await rows.apply(app.db, query)
    if (!revoked) {
      revoked = true
      await revokeKey(app.db, record.id, COMMAND_LINE)
      app.keyring.forget(record.id)
    }
    return result
  }
  t.match(await app.keyring.verify(token), { key: { id: record.id } }, 'the key was valid when its row was read')
  t.equal(app.keyring.getCached(token), undefined)
  t.match(await app.keyring.verify(token), { refused: 'revoked' })
})

onEach('an unknown id costs the same hashes and comparisons as a known one', async (t, dialect) => {
  const app = await build(t, dialect)
  const { record } = await issueKey(app.db, { name: 'A', role: 'admin' }, COMMAND_LINE)
  const calls: string[] = []
  const { hash, timingSafeEqual } = crypto
  t.teardown(() => {
    Object.assign(crypto, { hash, timingSafeEqual })
    syncBuiltinESMExports()
  })
  Object.assign(crypto, {
    hash: (...args: Parameters<typeof hash>) => {
      calls.push(`hash of ${String(args[1]).length}`)
      return hash(...args)
    },
    timingSafeEqual: (...args: Parameters<typeof timingSafeEqual>) => {
      calls.push(`comparison of ${args[0].byteLength}`)
      return timingSafeEqual(...args)
    },
  })
  syncBuiltinESMExports()
  const countCost = async (id: number) => {
    calls.length = 0
    t.match(await app.keyring.verify(`stk_${id}_${'0'.repeat(48)}`), { refused: 'unknown' })
    return [...calls]
  }
  const knownCost = await countCost(record.id)
  t.strictSame(knownCost, ['hash of 48', 'comparison of 64', `hash of ${`stk_${record.id}_`.length + 48}`])
  t.strictSame(await countCost(record.id + 1), knownCost)
})

onEach('50 concurrent requests with an unused key all succeed', async (t, dialect) => {
  const app = await build(t, dialect)
  const { token } = await issueKey(app.db, { name: 'A', role: 'read' }, COMMAND_LINE)
  const url = '/api/products/'
  const answers = await Promise.all(Array.from({ length: 50 }, () => app.inject({ url, headers: bearer(token) } as InjectOptions)))
  t.strictSame(
    answers.map(({ statusCode }) => statusCode),
    answers.map(() => 200),
  )
})
