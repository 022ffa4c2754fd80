// Collects writes and reads, and checks at the end that every read was right. Checking earlier would be wrong: a write may have taken
// effect although its answer is still under way.
import { isDeepStrictEqual } from 'node:util'
import { ABSENT, type Body, DELETED, getKey, json, type State, type Subject, Timeline } from './subject.ts'

export interface Observation {
  /** The request, for messages. */
  request: string
  instance: number
  startedAt: number
  endedAt: number
}

interface RecordRead extends Observation {
  subject: Subject
  /** Undefined if the record was not found. */
  body: Body | undefined
  /** The entity tag, if the answer showed nothing else. */
  tag?: string | undefined
}

export interface List {
  path: string
  /** The records that can be in the list, including all that clients change meanwhile. */
  subjects: readonly Subject[]
  includes(body: Body): boolean
  /** The list shows a category by this slug, which clients change. */
  slug?: { category: Subject; value: string }
  /** Records per page. */
  size: number
  /** Compares two records. It is negative if `one` comes first. */
  order?(one: Body, other: Body): number
  /** The number of records of the table beyond the subjects. */
  others?: number
}

interface ListRead extends Observation {
  list: List
  rows: Body[]
  count: number | null
}

interface Refusal extends Observation {
  subject: Subject
  status: number
  stock?: unknown
  delta?: number
  /** The version that the write required (If-Match). */
  requiredVersion?: number | undefined
}

interface KnownState {
  version: number
  writeStartedAt: number
  /** When the first write of this or a later state was sent. */
  earliestStart: number
  body: Body | undefined
}

interface SubjectHistory {
  acknowledgements: Timeline
  reads: Timeline
  /** The states in order of version. */
  states: KnownState[]
}

/** The maximum number of faults that a report lists. */
const MAX_FAULTS = 40

export class History {
  readonly #records: RecordRead[] = []
  readonly #lists: ListRead[] = []
  readonly #refusals: Refusal[] = []
  readonly #subjects = new Set<Subject>()
  readonly #histories = new Map<Subject, SubjectHistory>()
  readonly #instances: number
  readonly #bound: number
  readonly #faults = new Map<string, { example: string; times: number }>()
  /** The longest lag of an instance behind writes of others, in ms. */
  worstLag = 0
  /** The number of reads that were older than an earlier read, of writes not yet acknowledged. */
  backwardReads = 0

  /** `bound` is the lag in ms that an instance may have behind writes of others. */
  constructor(instances: number, bound: number) {
    this.#instances = instances
    this.#bound = bound
  }

  addFault(kind: string, example: string): void {
    const fault = this.#faults.get(kind)
    if (fault) fault.times++
    else this.#faults.set(kind, { example, times: 1 })
  }

  /** Adds a write that was acknowledged with a version. */
  addWrite(
    subject: Subject,
    version: number,
    { instance, startedAt, endedAt }: Omit<Observation, 'request'>,
    state: Partial<State> = {},
  ): void {
    this.#subjects.add(subject)
    subject.acknowledgements.push({ at: endedAt, version, instance })
    const existing = subject.states.get(version)
    if (!existing) return void subject.states.set(version, { effects: [], writeStartedAt: startedAt, ...state })
    // A change without differences is acknowledged with the existing version.
    existing.writeStartedAt = Math.min(existing.writeStartedAt, startedAt)
    existing.effects.push(...(state.effects ?? []))
    if (state.body && existing.body && !isDeepStrictEqual(state.body, existing.body))
      this.#addTwoBodies(subject, version, existing.body, state.body)
    existing.body ??= state.body
  }

  #addTwoBodies(subject: Subject, version: number, one: Body, other: Body): void {
    this.addFault('two bodies of one version', `${subject.key}, version ${version}: ${json(one)} and ${json(other)}`)
  }

  addTag(subject: Subject, version: number, tag: string): void {
    const oldTag = subject.tags.get(version)
    if (oldTag !== undefined && oldTag !== tag)
      this.addFault('two tags of one version', `${subject.key}, version ${version}: ${oldTag}, ${tag}`)
    const oldVersion = subject.versions.get(tag)
    if (oldVersion !== undefined && oldVersion !== version)
      this.addFault('one tag of two versions', `${subject.key}, versions ${oldVersion}, ${version}: ${tag}`)
    subject.tags.set(version, tag)
    subject.versions.set(tag, version)
  }

  addRead(read: RecordRead): void {
    this.#records.push(read)
    const { subject, instance, endedAt: at, body } = read
    if (body) subject.reads.push({ at, version: Number(body.version), instance })
  }

  addListRead(read: ListRead): void {
    this.#lists.push(read)
  }

  addRefusal(refusal: Refusal): void {
    this.#refusals.push(refusal)
  }

  /** Checks everything and returns the faults as sentences. */
  check(): string[] {
    for (const subject of this.#subjects) this.#replay(subject)
    for (const read of this.#records) this.#checkRecord(read)
    for (const read of this.#lists) this.#checkList(read)
    for (const refusal of this.#refusals) this.#checkRefusal(refusal)
    return [...this.#faults].slice(0, MAX_FAULTS).map(([kind, { example, times }]) => `${kind} (${times}): ${example}`)
  }

  /** Yields the last version of each record, for comparison with the database. */
  *lastVersions(): Generator<[Subject, version: number]> {
    for (const subject of this.#subjects) yield [subject, Math.max(...subject.states.keys())]
  }

  /** Checks that each version follows from the previous one and the requested effects: no write is lost, and none is invented. */
  #replay(subject: Subject): void {
    const versions = [...subject.states.keys()].filter((version) => version !== DELETED).sort((a, b) => a - b)
    const states: KnownState[] = []
    let before: Body = {}
    for (const [index, version] of versions.entries()) {
      const { writeStartedAt, body, effects } = subject.states.get(version) as State
      if (version !== index + 1) this.addFault('unacknowledged version', `${subject.key}: ${versions}`)
      const results = effects.map((effect) => effect(before))
      const after = body ?? { ...before, ...results[0], version }
      // Every effect holds in the result, and one of the writes led to it without any other difference.
      if (!results.every((result) => agrees(result, after)))
        this.addFault('write with another effect', `${subject.key}, version ${version}: ${json(after)} for ${json(results)}`)
      if (!results.some((result) => agrees({ ...omitDerived(before), ...result }, after)))
        this.addFault('lost write', `${subject.key}, version ${version}: ${json(after)} after ${json(before)}, for ${json(results)}`)
      if (!body) delete after.updated_at
      states.push({ version, writeStartedAt, earliestStart: writeStartedAt, body: after })
      before = after
    }
    const deletion = subject.states.get(DELETED)
    if (deletion) {
      const { writeStartedAt } = deletion
      states.push({ version: DELETED, writeStartedAt, earliestStart: writeStartedAt, body: undefined })
    }
    states.reduceRight((next, state) => {
      state.earliestStart = Math.min(state.earliestStart, next.earliestStart)
      return state
    }, states.at(-1) as KnownState)
    if (deletion?.requiredVersion !== undefined && deletion.requiredVersion !== versions.at(-1))
      this.addFault('delete despite another version', `${subject.key}: of version ${deletion.requiredVersion}, after ${versions.at(-1)}`)
    const acknowledgements = new Timeline(subject.acknowledgements, this.#instances)
    this.#histories.set(subject, { acknowledgements, reads: new Timeline(subject.reads, this.#instances), states })
  }

  #getHistory(subject: Subject): SubjectHistory {
    return this.#histories.get(subject) ?? { acknowledgements: new Timeline([], 0), reads: new Timeline([], 0), states: [] }
  }

  /** Whether a read that ended at `endedAt` may have met the record in a state that `matches`, not older than `floor`. */
  #isPossible(subject: Subject, floor: number, endedAt: number, matches: (body: Body | undefined) => boolean): boolean {
    if (floor === ABSENT && matches(undefined)) return true
    const { states } = this.#getHistory(subject)
    for (let index = findState(states, floor); index < states.length; index++) {
      const { writeStartedAt, earliestStart, body } = states[index] as KnownState
      if (earliestStart >= endedAt) return false
      if (writeStartedAt < endedAt && matches(body)) return true
    }
    return false
  }

  /** Adds a fault if the lag exceeds the bound. */
  #checkLag(kind: string, lag: number, { request, instance, startedAt, endedAt }: Observation, detail: string): void {
    if (lag <= this.#bound) {
      this.worstLag = Math.max(this.worstLag, lag)
      return
    }
    const amount = Number.isFinite(lag) ? `${Math.round(lag)} ms behind` : 'older than this instance acknowledged, or never right'
    this.addFault(kind, `${request} at instance ${instance}, from ${startedAt.toFixed(1)} to ${endedAt.toFixed(1)}: ${amount}: ${detail}`)
  }

  #checkBody(read: Observation, subject: Subject, body: Body): void {
    const { acknowledgements, reads, states } = this.#getHistory(subject)
    const version = Number(body.version)
    const state = states[findState(states, version)]
    if (state?.version !== version) {
      this.addFault('unwritten version', `${read.request}: ${json(body)}`)
      return
    }
    if (state.writeStartedAt > read.endedAt) this.addFault('version before its write', `${read.request}: ${json(body)}`)
    if (!agrees(state.body ?? {}, body)) this.#addTwoBodies(subject, version, state.body ?? {}, body)
    const isRight = (floor: number) => floor <= version
    const lag = acknowledgements.findLag(read.instance, read.startedAt, isRight)
    if (lag > 0) {
      const kind = acknowledgements.findFloor(read.instance, read.startedAt, 0) === DELETED ? 'deleted record' : 'outdated record'
      const age = acknowledgements.computeAge(read.startedAt, version).toFixed(1)
      this.#checkLag(kind, lag, read, `${subject.key} in version ${version}, ${age} ms after a newer one was acknowledged`)
    } else if (!isRight(reads.findFloor(read.instance, read.startedAt, Number.POSITIVE_INFINITY))) this.backwardReads++
  }

  #checkRecord(read: RecordRead): void {
    const { subject, body, tag, instance, startedAt, endedAt } = read
    const { acknowledgements } = this.#getHistory(subject)
    if (tag !== undefined) {
      const version = subject.versions.get(tag)
      if (version === undefined) return
      const lag = acknowledgements.findLag(instance, startedAt, (floor) => floor <= version)
      this.#checkLag('outdated tag', lag, read, tag)
    } else if (body) this.#checkBody(read, subject, body)
    else {
      const isMissing = (floor: number) => this.#isPossible(subject, floor, endedAt, (body) => body === undefined)
      const lag = acknowledgements.findLag(instance, startedAt, isMissing)
      if (lag > 0) this.#checkLag('record not found', lag, read, subject.key)
    }
  }

  #checkList(read: ListRead): void {
    const { list, rows, count, instance, startedAt, endedAt, request } = read
    this.#checkPage(read)
    if (rows.length > 0 && list.slug) {
      const lag = this.#findSlugLag(read, true)
      if (lag > 0) this.#checkLag('outdated list by slug', lag, read, `${list.slug.category.key} as ${list.slug.value}`)
    }
    const absenceLag = this.#findSlugLag(read, false)

    const isOut = (body: Body | undefined) => body === undefined || !list.includes(body)
    const isComplete = rows.length < list.size
    const unmatched = new Map(rows.map((row) => [getKey(row), row]))
    let [least, most] = [list.others ?? 0, list.others ?? 0]
    for (const subject of new Set(list.subjects)) {
      const { acknowledgements } = this.#getHistory(subject)
      const row = unmatched.get(subject.key)
      unmatched.delete(subject.key)
      if (row) {
        least++
        most++
        this.#checkBody(read, subject, row)
        if (!list.includes(row)) this.addFault('record outside the filter', `${request}: ${json(row)}`)
        this.#checkBatch(read, subject, row)
        continue
      }
      const canBeMissing = (floor: number) => this.#isPossible(subject, floor, endedAt, isOut)
      if (isComplete) {
        const lag = Math.min(absenceLag, acknowledgements.findLag(instance, startedAt, canBeMissing))
        if (lag > 0) this.#checkLag('record missing from a list', lag, read, subject.key)
        continue
      }
      const floor = acknowledgements.findFloor(instance, startedAt, this.#bound)
      if (!canBeMissing(floor)) least++
      if (this.#isPossible(subject, floor, endedAt, (body) => !isOut(body))) most++
    }
    for (const row of unmatched.values()) if (!list.others) this.addFault('unknown record', `${request}: ${json(row)}`)
    if (!isComplete && count !== null && !list.slug && (count < least || count > most))
      this.addFault('outdated count', `${request} at instance ${instance}: ${count}, and not from ${least} to ${most}`)
  }

  /** Checks the page by itself: unique records, a fitting count, and the order. */
  #checkPage({ list, rows, count, request }: ListRead): void {
    if (new Set(rows.map(getKey)).size !== rows.length) this.addFault('duplicate in a list', `${request}: ${json(rows)}`)
    if (count !== null && rows.length !== Math.min(count, list.size))
      this.addFault('count of other records', `${request}: ${count} for ${rows.length} records`)
    for (const [index, row] of rows.entries()) {
      const next = rows[index + 1]
      if (next && list.order && list.order(row, next) > 0) this.addFault('wrong order', `${request}: ${json([row, next])}`)
    }
  }

  /** Returns the smallest lag with which the list's category had its slug, or did not have it. */
  #findSlugLag({ list: { slug }, instance, startedAt, endedAt }: ListRead, hasSlug: boolean): number {
    if (!slug) return hasSlug ? 0 : Number.POSITIVE_INFINITY
    const isRight = (floor: number) => this.#isPossible(slug.category, floor, endedAt, (body) => (body?.slug === slug.value) === hasSlug)
    return this.#getHistory(slug.category).acknowledgements.findLag(instance, startedAt, isRight)
  }

  /** A list shows one moment, so it has all records of a transaction in their new versions or none. */
  #checkBatch({ request, list, rows }: ListRead, subject: Subject, row: Body): void {
    const { batch } = subject.states.get(Number(row.version)) ?? {}
    for (const [other, version] of batch ?? []) {
      const otherRow = rows.find((row) => getKey(row) === other.key)
      if (otherRow && list.subjects.includes(other) && Number(otherRow.version) < version)
        this.addFault('partial batch', `${request}: ${json(row)} and ${json(otherRow)}`)
    }
  }

  #checkRefusal({ request, subject, instance, startedAt, endedAt, status, stock, delta, requiredVersion }: Refusal): void {
    const floor = this.#getHistory(subject).acknowledgements.findFloor(instance, startedAt, 0)
    const couldBe = (matches: (body: Body | undefined) => boolean) => this.#isPossible(subject, floor, endedAt, matches)
    const isRight =
      status === 404
        ? couldBe((body) => body === undefined)
        : status === 409
          ? couldBe((body) => body?.stock === stock && Number(stock) + Number(delta) < 0)
          : status === 412 && couldBe((body) => body?.version !== requiredVersion)
    if (!isRight)
      this.addFault(`wrongly refused write (${status})`, `${request}: ${subject.key} ${json({ stock, delta, requiredVersion })}`)
  }
}

/** Returns the index of the first state with at least this version. */
function findState(states: readonly KnownState[], version: number): number {
  let [low, high] = [0, states.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((states[middle] as KnownState).version < version) low = middle + 1
    else high = middle
  }
  return low
}

/** Omits the members that the service sets itself on every write. */
const omitDerived = ({ version: _, updated_at: __, slug: ___, ...rest }: Body): Body => rest

/** Whether the members that both have are equal. */
const agrees = (part: Body, whole: Body): boolean =>
  Object.entries(part).every(([name, value]) => !(name in whole) || isDeepStrictEqual(value, whole[name]))
