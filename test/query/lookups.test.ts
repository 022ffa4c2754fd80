// Each lookup finds its matches, and its negation exactly the rest.
import { eq, sql } from 'drizzle-orm'
import t, { type Test } from 'tap'
import { issueKey } from '../../src/auth/keys.ts'
import { COMMAND_LINE } from '../../src/changelog/record.ts'
import type { App } from '../../src/http/routes.ts'
import { meta } from '../../src/query/fields.ts'
import { type LookupName, lookups } from '../../src/query/lookups.ts'
import { codec } from '../../src/query/querystring.ts'
import { categories } from '../../src/resources/categories.ts'
import { keys } from '../../src/resources/keys.ts'
import { products } from '../../src/resources/products.ts'
import { ask, build, get, onEach } from '../helper.ts'

/** Categories in the order of their ids. */
const CATEGORIES = {
  food: { name: 'Food', parent: null },
  bread: { name: 'Bread', parent: 1 },
  bun: { name: '麵包', parent: 2 },
  clothes: { name: 'Clothes', parent: null },
  shirts: { name: 'Shirts', parent: 4 },
  street: { name: 'Straße', parent: null },
}

interface Product {
  sku?: string
  name: string
  description?: string
  price?: string
  stock?: number
  brand?: string
  category?: number
  created?: string
}

const PLAIN = { price: '10', created: '2026-01-03T00:00:00.000Z', stock: 1 }

const PRODUCTS: Record<string, Product> = {
  tee: {
    sku: 'TEE-1',
    name: 'Red shirt',
    description: 'Soft, 100% cotton',
    price: '29.90',
    stock: 5,
    brand: 'Acme',
    category: 5,
    created: '2026-01-01T00:00:00.000Z',
  },
  loud: { sku: 'tee-1', name: 'RED SHIRT', price: '29.90', stock: 5, brand: 'ACME', category: 5, created: '2026-01-01T00:00:00.001Z' },
  loaf: { name: '麵包', description: 'Brot, 麵包', price: '0', stock: 0, category: 3, created: '1969-12-31T23:59:59.999Z' },
  avenue: {
    name: 'Straße',
    description: 'STRASSE',
    price: '99999999.99',
    stock: 2_147_483_647,
    brand: 'Smith, Sons',
    created: '9999-12-31T23:59:59.999Z',
  },
  road: { sku: '50%_off', name: 'STRASSE 5', price: '2.50', stock: 2, brand: 'say "hi"', category: 1, created: '2026-01-02T00:00:00.000Z' },
  lane: { sku: '50x1off', name: 'strasse', price: '2.49', stock: 3, brand: "O'Neil", category: 2, created: '2026-01-02T00:00:00.500Z' },
  omega: { sku: 'a\\b', name: 'ΌΣΟΣ', price: '2.51', stock: 2, brand: 'a\\b', category: 1, created: '0001-01-01T00:00:00.000Z' },
  sigma: { sku: 'a/b', name: 'όσος', price: '3', stock: 3, brand: 'null', created: '2026-01-02T00:00:00.000Z' },
  dotted: { sku: 'İ', name: 'İstanbul' },
  dot: { sku: 'i', name: 'istanbul' },
  dotless: { sku: 'ı', name: 'ıstanbul' },
  split: { sku: 'e\u0301', name: 'Cafe\u0301' },
  joined: { sku: 'é', name: 'Café' },
  percent: { sku: '%', name: '100% _cotton_' },
  letters: { sku: '*', name: '100x xcottonx' },
  emoji: { sku: '👕', name: 'T👕' },
  unit: { sku: 'a|', name: 'end|' },
}

const PLAIN_KEYS = 'dotted dot dotless split joined percent letters emoji unit'
const ALL = Object.keys(PRODUCTS).join(' ')
const ALL_CATEGORIES = Object.keys(CATEGORIES).join(' ')
const HUGE = '9'.repeat(30)

/** A parameter without negation, its value, and the keys of its matches in any order. */
type Row = [parameter: string, value: string, finds: string]

const text: Row[] = [
  ['name', 'Red shirt', 'tee'],
  ['name', '  Red shirt ', 'tee'],
  ['name', 'Red', ''],
  ['name', 'Straße', 'avenue'],
  ['name', 'STRASSE', ''],
  ['name', 'Cafe\u0301', 'split'],
  ['name', 'Café', 'joined'],
  ['name', '麵包', 'loaf'],
  ['name', 'T👕', 'emoji'],
  ['name', "' or 1=1 --", ''],
  ['name', '%', ''],
  ['brand', "O'Neil", 'lane'],
  ['brand', 'say "hi"', 'road'],
  ['brand', 'Smith, Sons', 'avenue'],
  ['brand', 'a\\b', 'omega'],
  ['brand', 'null', 'sigma'],
  ['sku', '%', 'percent'],
  ['sku', 'tee-1', 'loud'],
  ['sku', 'null', ''],
  ['name__iexact', 'red SHIRT', 'tee loud'],
  ['name__iexact', 'STRASSE', 'avenue lane'],
  ['name__iexact', 'straße', 'avenue lane'],
  ['name__iexact', 'STRAẞE', 'avenue lane'],
  ['name__iexact', 'ΌΣΟΣ', 'omega sigma'],
  ['name__iexact', 'όσος', 'omega sigma'],
  ['name__iexact', 'όσοσ', 'omega sigma'],
  ['name__iexact', 'ISTANBUL', 'dot'],
  ['name__iexact', 'İSTANBUL', 'dotted'],
  ['name__iexact', 'ıSTANBUL', 'dotless'],
  ['name__iexact', 'CAFÉ', 'split joined'],
  ['name__iexact', 'cafe\u0301', 'split joined'],
  ['name__iexact', 'cafe', ''],
  ['name__iexact', '100_ _cotton_', ''],
  ['name__iexact', 'shirt', ''],
  ['brand__iexact', 'aCmE', 'tee loud'],
  ['brand__iexact', "o'neil", 'lane'],
  ['sku__iexact', 'Tee-1', 'tee loud'],
  ['sku__iexact', '50%_OFF', 'road'],
  ['name__icontains', 'SHIRT', 'tee loud'],
  ['name__icontains', 'd s', 'tee loud'],
  ['name__icontains', 'straSSe', 'avenue road lane'],
  ['name__icontains', 'ß', 'avenue road lane'],
  ['name__icontains', 's', 'tee loud avenue road lane dotted dot dotless'],
  ['name__icontains', 'ST', 'avenue road lane dotted dot dotless'],
  ['name__icontains', 'ul', 'dotted dot dotless'],
  ['name__icontains', 'Σ', 'omega sigma'],
  ['name__icontains', 'ς', 'omega sigma'],
  ['name__icontains', 'ΣΟς', 'omega sigma'],
  ['name__icontains', '麵', 'loaf'],
  ['name__icontains', '包', 'loaf'],
  ['name__icontains', '麵包', 'loaf'],
  ['name__icontains', '包麵', ''],
  ['name__icontains', '👕', 'emoji'],
  ['name__icontains', 't👕', 'emoji'],
  ['name__icontains', 'É', 'split joined'],
  ['name__icontains', 'Fe\u0301', 'split joined'],
  ['name__icontains', 'i', 'tee loud dotted dot'],
  ['name__icontains', 'ı', 'dotless'],
  ['name__icontains', '%', 'percent'],
  ['name__icontains', '_', 'percent'],
  ['name__icontains', '0%', 'percent'],
  ['name__icontains', '% _c', 'percent'],
  ['name__icontains', '100%', 'percent'],
  ['name__icontains', 'red%shirt', ''],
  ['name__icontains', 'r_d', ''],
  ['name__icontains', '*', ''],
  ['name__icontains', 'cotton*', ''],
  ['name__icontains', '\x1f', ''],
  ['name__icontains', 'd|', 'unit'],
  ['name__icontains', 'red\x1f', ''],
  ['name__icontains', 'shirt\x1f\x1f', ''],
  ['name__icontains', 'x'.repeat(255), ''],
  ['brand__icontains', '"', 'road'],
  ['brand__icontains', '"hi"', 'road'],
  ['brand__icontains', "'", 'lane'],
  ['brand__icontains', "'ne", 'lane'],
  ['brand__icontains', '\\', 'omega'],
  ['brand__icontains', 'a\\b', 'omega'],
  ['brand__icontains', 'h, s', 'avenue'],
  ['sku__icontains', '\\', 'omega'],
  ['sku__icontains', '\\b', 'omega'],
  ['sku__icontains', '0%_', 'road'],
  ['sku__icontains', '0_1', ''],
  ['sku__icontains', 'OFF', 'road lane'],
  ['description__icontains', 'COTTON', 'tee'],
  ['description__icontains', '100%', 'tee'],
  ['description__icontains', 'ß', 'avenue'],
  ['description__icontains', '麵', 'loaf'],
  ['description__icontains', 'shirt', ''],
  ['name__istartswith', 'red', 'tee loud'],
  ['name__istartswith', 'shirt', ''],
  ['name__istartswith', 'STRA', 'avenue road lane'],
  ['name__istartswith', 'straß', 'avenue road lane'],
  ['name__istartswith', 'strasse ', 'avenue road lane'],
  ['name__istartswith', 'strasse 5', 'road'],
  ['name__istartswith', 'όΣ', 'omega sigma'],
  ['name__istartswith', 'i', 'dotted dot'],
  ['name__istartswith', 'is', 'dot'],
  ['name__istartswith', 'İ', 'dotted'],
  ['name__istartswith', 'ı', 'dotless'],
  ['name__istartswith', 'caf', 'split joined'],
  ['name__istartswith', 'CAFÉ', 'split joined'],
  ['name__istartswith', 'cafe', ''],
  ['name__istartswith', '麵', 'loaf'],
  ['name__istartswith', 't👕', 'emoji'],
  ['name__istartswith', '100%', 'percent'],
  ['name__istartswith', '100_', ''],
  ['name__istartswith', '\u{10ffff}', ''],
  ['brand__istartswith', 'S', 'avenue road'],
  ['brand__istartswith', 'A', 'tee loud omega'],
  ['sku__istartswith', '50', 'road lane'],
  ['sku__istartswith', 'h', ''],
  ['sku__istartswith', 'A\\', 'omega'],
  ['brand__in', 'Acme', 'tee'],
  ['brand__in', '"Smith, Sons",Acme', 'tee avenue'],
  ['brand__in', ' Acme , "Smith, Sons" ', 'tee avenue'],
  ['brand__in', 'Smith, Sons', ''],
  ['brand__in', '"say ""hi"""', 'road'],
  ['brand__in', '""', `loaf ${PLAIN_KEYS}`],
  ['brand__in', '"",Acme', `tee loaf ${PLAIN_KEYS}`],
  ['brand__in', "O'Neil,null", 'lane sigma'],
  ['brand__in', 'a\\b,nothing', 'omega'],
  ['name__in', 'Straße,STRASSE,麵包,T👕', 'avenue loaf emoji'],
  ['name__in', 'Cafe\u0301', 'split'],
  ['sku__in', 'TEE-1,tee-1,TEE-1', 'tee loud'],
  ['sku__in', '%,*', 'percent letters'],
  ['sku__in', 'null', ''],
  ['sku__isnull', 'true', 'loaf avenue'],
  ['sku__isnull', 'TRUE', 'loaf avenue'],
  ['sku__isnull', '1', 'loaf avenue'],
  ['sku__isnull', 'false', `tee loud road lane omega sigma ${PLAIN_KEYS}`],
  ['sku__isnull', '0', `tee loud road lane omega sigma ${PLAIN_KEYS}`],
  ['name__isnull', 'true', ''],
  ['brand__isnull', 'false', ALL],
]

const decimals: Row[] = [
  ['price', '29.90', 'tee loud'],
  ['price', '29.9', 'tee loud'],
  ['price', ' 0029.9000 ', 'tee loud'],
  ['price', '29.901', ''],
  ['price', '0', 'loaf'],
  ['price', '-0', 'loaf'],
  ['price', '.0', 'loaf'],
  ['price', '-1', ''],
  ['price', '2.5', 'road'],
  ['price', '3.', 'sigma'],
  ['price', '99999999.99', 'avenue'],
  ['price', '100000000', ''],
  ['price', '-0.01', ''],
  ['price', HUGE, ''],
  ['price', `-${HUGE}`, ''],
  ['price__gt', '2.5', `omega sigma tee loud avenue ${PLAIN_KEYS}`],
  ['price__gt', '2.499', `road omega sigma tee loud avenue ${PLAIN_KEYS}`],
  ['price__gt', '29.899', 'tee loud avenue'],
  ['price__gt', '29.9', 'avenue'],
  ['price__gt', '99999999.989', 'avenue'],
  ['price__gt', '99999999.99', ''],
  ['price__gt', '-0.001', ALL],
  ['price__gt', HUGE, ''],
  ['price__gt', `-${HUGE}`, ALL],
  ['price__gte', '29.9', 'tee loud avenue'],
  ['price__gte', '29.901', 'avenue'],
  ['price__gte', '99999999.99', 'avenue'],
  ['price__gte', '99999999.991', ''],
  ['price__gte', '0', ALL],
  ['price__gte', HUGE, ''],
  ['price__lt', '2.5', 'loaf lane'],
  ['price__lt', '2.501', 'loaf lane road'],
  ['price__lt', '0.001', 'loaf'],
  ['price__lt', '0', ''],
  ['price__lt', '-5', ''],
  ['price__lt', HUGE, ALL],
  ['price__lt', `-${HUGE}`, ''],
  ['price__lte', '2.49', 'loaf lane'],
  ['price__lte', '2.489', 'loaf'],
  ['price__lte', '0', 'loaf'],
  ['price__lte', '-0.001', ''],
  ['price__lte', '100000000', ALL],
  ['price__range', '2.49,2.5', 'lane road'],
  ['price__range', '2.5,2.49', ''],
  ['price__range', '2.495,2.505', 'road'],
  ['price__range', '2.501,2.509', ''],
  ['price__range', '-1,0', 'loaf'],
  ['price__range', `-${HUGE},${HUGE}`, ALL],
  ['price__range', `${HUGE},-${HUGE}`, ''],
  ['price__range', '"2.49","2.5"', 'lane road'],
  ['price__in', '2.5,2.490,7', 'lane road'],
  ['price__in', '2.495,29.9', 'tee loud'],
  ['price__in', `${HUGE},0,-${HUGE}`, 'loaf'],
  ['price__in', '-0.01,100000000', ''],
  ['price__isnull', 'true', ''],
  ['price__isnull', 'false', ALL],
]

const integers: Row[] = [
  ['stock', '5', 'tee loud'],
  ['stock', '5.0', 'tee loud'],
  ['stock', '2.5', ''],
  ['stock', '-0.5', ''],
  ['stock', '0', 'loaf'],
  ['stock', '2147483647', 'avenue'],
  ['stock', '2147483648', ''],
  ['stock', '9223372036854775808', ''],
  ['stock', '18446744073709551616', ''],
  ['stock', HUGE, ''],
  ['stock__gt', '2', 'lane sigma tee loud avenue'],
  ['stock__gt', '2.5', 'lane sigma tee loud avenue'],
  ['stock__gt', '-0.5', ALL],
  ['stock__gt', '2147483646.5', 'avenue'],
  ['stock__gt', '2147483647', ''],
  ['stock__gt', '9223372036854775807', ''],
  ['stock__gte', '2.5', 'lane sigma tee loud avenue'],
  ['stock__gte', '5', 'tee loud avenue'],
  ['stock__gte', '5.1', 'avenue'],
  ['stock__gte', '2147483647.5', ''],
  ['stock__lt', '2', `loaf ${PLAIN_KEYS}`],
  ['stock__lt', '2.5', `loaf road omega ${PLAIN_KEYS}`],
  ['stock__lt', '0.5', 'loaf'],
  ['stock__lt', '0', ''],
  ['stock__lt', '9223372036854775808', ALL],
  ['stock__lte', '2.5', `loaf road omega ${PLAIN_KEYS}`],
  ['stock__lte', '-0.5', ''],
  ['stock__lte', '-9223372036854775809', ''],
  ['stock__lte', HUGE, ALL],
  ['stock__range', '2,3', 'road omega lane sigma'],
  ['stock__range', '1.5,3.5', 'road omega lane sigma'],
  ['stock__range', '2.1,2.9', ''],
  ['stock__range', '3,2', ''],
  ['stock__range', `5,${HUGE}`, 'tee loud avenue'],
  ['stock__in', '2.5,3', 'lane sigma'],
  ['stock__in', '5,0,5.00', 'tee loud loaf'],
  ['stock__in', `-1,${HUGE},2147483648`, ''],
  ['stock__isnull', 'false', ALL],
  ['id', '1', 'tee'],
  ['id', '1.0', 'tee'],
  ['id', '1.5', ''],
  ['id', '0', ''],
  ['id', '-1', ''],
  ['id', '9007199254740992', ''],
  ['id', HUGE, ''],
  ['id__gt', '15.5', 'emoji unit'],
  ['id__gte', '15.5', 'emoji unit'],
  ['id__lt', '1.5', 'tee'],
  ['id__lte', '1', 'tee'],
  ['id__lte', '9007199254740993', ALL],
  ['id__range', '2,3', 'loud loaf'],
  ['id__in', '3,1,2.5', 'tee loaf'],
  ['id__isnull', 'true', ''],
]

const references: Row[] = [
  ['category', '5', 'tee loud'],
  ['category', '5.0', 'tee loud'],
  ['category', '5.5', ''],
  ['category', '6', ''],
  ['category', '0', ''],
  ['category', '-1', ''],
  ['category', HUGE, ''],
  ['category__in', '1,3', 'road omega loaf'],
  ['category__in', '1.5,2', 'lane'],
  ['category__in', `0,${HUGE}`, ''],
  ['category__isnull', 'true', `avenue sigma ${PLAIN_KEYS}`],
  ['category__isnull', 'false', 'tee loud loaf road lane omega'],
  ['category__slug', 'bread', 'lane'],
  ['category__slug', ' bread ', 'lane'],
  ['category__slug', 'Bread', ''],
  ['category__slug', '麵包', 'loaf'],
  ['category__slug', 'straße', ''],
  ['category__slug', 'none', ''],
  ['category__under', '1', 'road omega lane loaf'],
  ['category__under', '1.0', 'road omega lane loaf'],
  ['category__under', '2', 'lane loaf'],
  ['category__under', '3', 'loaf'],
  ['category__under', '4', 'tee loud'],
  ['category__under', '6', ''],
  ['category__under', '99', ''],
  ['category__under', '0', ''],
  ['category__under', '1.5', ''],
  ['category__under', HUGE, ''],
]

const times = (field: string): Row[] => [
  [field, '2026-01-01', 'tee'],
  [field, '2026-01-01T02:00:00+02:00', 'tee'],
  [field, '2025-12-31 19:00-05:00', 'tee'],
  [field, '2026-01-01T00:00:00.001Z', 'loud'],
  [field, '2026-01-01T00:00:00.001000', 'loud'],
  [field, '2026-01-01T00:00:00.0010001Z', ''],
  [field, '2026-01-01T00:00:00.0005Z', ''],
  [field, '1969-12-31T23:59:59.999Z', 'loaf'],
  [field, '0001-01-01', 'omega'],
  [field, '9999-12-31T23:59:59.999Z', 'avenue'],
  [field, '9999-12-31T23:59:59-23:00', ''],
  [field, '0000-01-01T00:00:00+23:00', ''],
  [`${field}__gt`, '2026-01-02', `lane avenue ${PLAIN_KEYS}`],
  [`${field}__gt`, '2026-01-01T00:00:00.0005Z', `loud road lane sigma avenue ${PLAIN_KEYS}`],
  [`${field}__gt`, '2026-01-02T00:00:00.499999Z', `lane avenue ${PLAIN_KEYS}`],
  [`${field}__gt`, '9999-12-31T23:59:59.9989Z', 'avenue'],
  [`${field}__gt`, '9999-12-31T23:59:59.999Z', ''],
  [`${field}__gt`, '9999-12-31T23:59:59-23:00', ''],
  [`${field}__gt`, '0000-01-01T00:00:00+23:00', ALL],
  [`${field}__gte`, '2026-01-02T00:00:00.5Z', `lane avenue ${PLAIN_KEYS}`],
  [`${field}__gte`, '2026-01-02T00:00:00.5001Z', `avenue ${PLAIN_KEYS}`],
  [`${field}__gte`, '0001-01-01', ALL],
  [`${field}__gte`, '9999-12-31T23:59:59.9991Z', ''],
  [`${field}__lt`, '2026-01-01', 'loaf omega'],
  [`${field}__lt`, '2026-01-01T00:00:00.0005Z', 'loaf omega tee'],
  [`${field}__lt`, '1970-01-01', 'loaf omega'],
  [`${field}__lt`, '0001-01-01', ''],
  [`${field}__lt`, '0000-12-31T23:59:59Z', ''],
  [`${field}__lt`, '9999-12-31T23:59:59-23:00', ALL],
  [`${field}__lte`, '2026-01-01', 'loaf omega tee'],
  [`${field}__lte`, '2026-01-01T00:00:00.0009Z', 'loaf omega tee'],
  [`${field}__lte`, '0001-01-01', 'omega'],
  [`${field}__lte`, '0001-01-01T00:00:00+00:01', ''],
  [`${field}__range`, '2026-01-01,2026-01-02', 'tee loud road sigma'],
  [`${field}__range`, '2026-01-02,2026-01-01', ''],
  [`${field}__range`, '2026-01-01T00:00:00.0001Z,2026-01-02T00:00:00.4999Z', 'loud road sigma'],
  [`${field}__range`, '0000-01-01T00:00:00+23:00,9999-12-31T23:59:59-23:00', ALL],
  [`${field}__in`, '2026-01-01,2026-01-01T00:00:00.001Z,2026-01-05', 'tee loud'],
  [`${field}__in`, '2026-01-01T00:00:00.0001Z,0000-01-01,9999-12-31T23:59:59-23:00', ''],
  [`${field}__isnull`, 'false', ALL],
  [`${field}__isnull`, 'true', ''],
]

const PRODUCT_ROWS = [...text, ...decimals, ...integers, ...references, ...times('created_at'), ...times('updated_at')]

const days = (field: string): Row[] => [
  [field, '2026-01-02', 'bread'],
  [`${field}__gt`, '2026-01-04', 'shirts street'],
  [`${field}__gte`, '2026-01-04', 'clothes shirts street'],
  [`${field}__lt`, '2026-01-02', 'food'],
  [`${field}__lte`, '2026-01-02', 'food bread'],
  [`${field}__range`, '2026-01-02,2026-01-03', 'bread bun'],
  [`${field}__in`, '2026-01-01,2026-01-06', 'food street'],
  [`${field}__isnull`, 'true', ''],
]

const CATEGORY_ROWS: Row[] = [
  ['id', '2', 'bread'],
  ['id__gt', '4', 'shirts street'],
  ['id__gte', '4', 'clothes shirts street'],
  ['id__lt', '2', 'food'],
  ['id__lte', '2', 'food bread'],
  ['id__range', '2,3', 'bread bun'],
  ['id__in', '1,6', 'food street'],
  ['id__isnull', 'false', ALL_CATEGORIES],
  ['name', 'Food', 'food'],
  ['name__iexact', 'STRASSE', 'street'],
  ['name__icontains', 'r', 'bread shirts street'],
  ['name__istartswith', '麵', 'bun'],
  ['name__in', 'Food,Bread', 'food bread'],
  ['name__isnull', 'true', ''],
  ['slug', 'straße', 'street'],
  ['slug', 'Food', ''],
  ['slug__iexact', 'FOOD', 'food'],
  ['slug__icontains', 'SHIRT', 'shirts'],
  ['slug__istartswith', 'S', 'shirts street'],
  ['slug__in', 'food,麵包', 'food bun'],
  ['slug__isnull', 'true', ''],
  ['parent', '1', 'bread'],
  ['parent', '6', ''],
  ['parent__in', '1,4', 'bread shirts'],
  ['parent__isnull', 'true', 'food clothes street'],
  ['parent__slug', 'bread', 'bun'],
  ['parent__under', '1', 'bread bun'],
  ['parent__under', '2', 'bun'],
  ['parent__under', '3', ''],
  ['parent__under', '99', ''],
  ...days('created_at'),
  ...days('updated_at'),
]

const RESOURCES = [
  { resource: products, rows: PRODUCT_ROWS, keys: Object.keys(PRODUCTS) },
  { resource: categories, rows: CATEGORY_ROWS, keys: Object.keys(CATEGORIES) },
]

async function fill(app: App): Promise<void> {
  for (const [index, body] of Object.values(CATEGORIES).entries()) {
    await create(app, 'categories', body)
    await setTimes(app, 'categories', index + 1, `2026-01-0${index + 1}T00:00:00.000Z`)
  }
  for (const [index, product] of Object.values(PRODUCTS).entries()) {
    const { created, ...body } = { ...PLAIN, ...product }
    await create(app, 'products', body)
    await setTimes(app, 'products', index + 1, created)
  }
}

async function create(app: App, table: string, body: object): Promise<void> {
  const { status, body: answer } = await ask(app, 'POST', `/api/${table}/`, body)
  if (status !== 201) throw new Error(JSON.stringify(answer))
}

/** Sets times that a client cannot set. */
const setTimes = (app: App, name: 'products' | 'categories', id: number, at: string) =>
  app.db.write(async (tx) => {
    const table = app.db.tables[name]
    await tx.update(table).set({ created_at: at, updated_at: at }).where(eq(table.id, id))
  })

async function check(t: Test, app: App, list: string, keys: string[], [parameter, value, finds]: Row): Promise<void> {
  const expectedKeys = finds.split(' ')
  const ids = (has: boolean) => keys.flatMap((key, index) => (expectedKeys.includes(key) === has ? [index + 1] : []))
  for (const [name, expected] of [
    [parameter, ids(true)],
    [`${parameter}!`, ids(false)],
  ] as const) {
    const { status, body } = await get(app, `/api/${list}/?${encodeURIComponent(name)}=${encodeURIComponent(value)}&page_size=100`)
    const actual = { status, count: body.count, ids: body.results?.map(({ id }: { id: number }) => id), errors: body.errors }
    t.same(
      actual,
      { status: 200, count: expected.length, ids: expected, errors: undefined },
      `${list}: ${name}=${JSON.stringify(value.slice(0, 60))}`,
    )
  }
}

onEach('a lookup finds its matches and its negation the rest', async (t, dialect) => {
  const app = await build(t, dialect)
  await fill(app)
  for (const { resource, rows, keys } of RESOURCES) {
    for (const row of rows) await check(t, app, resource.table, keys, row)
  }
})

onEach('a negated comparison includes records without a value', async (t, dialect) => {
  const { db } = await build(t, dialect)
  const table = db.tables.keys
  const times = { early: '2100-01-01T00:00:00.000Z', late: '2100-01-03T00:00:00.000Z', never: null }
  const names = new Map<unknown, string>()
  for (const [name, expires_at] of Object.entries(times)) {
    const { record } = await issueKey(db, { name, role: 'read', expires_at }, COMMAND_LINE)
    names.set(record.id, name)
  }
  const rows: [parameter: string, value: string, finds: string[]][] = [
    ['expires_at__gt!', times.early, ['early', 'never']],
    ['expires_at__gte!', times.late, ['early', 'never']],
    ['expires_at__lt!', times.late, ['late', 'never']],
    ['expires_at__lte!', times.early, ['late', 'never']],
    ['expires_at__range!', `${times.early},${times.early}`, ['late', 'never']],
    ['expires_at!', times.early, ['late', 'never']],
    ['expires_at__in!', times.late, ['early', 'never']],
  ]
  for (const [parameter, value, finds] of rows) {
    const filter = keys.list.filters.get(parameter)
    if (!filter) throw new Error(`keys have no filter ${parameter}`)
    const clause = filter.clause(db, filter.parameter[codec].read(value))
    const values = clause.values.map((value) => sql`${sql.param(value)}`)
    // Checked by a test of each row and, if there is one, by the index.
    const ways = [
      sql`select id from ${table} where ${clause.check(...values)}`,
      ...(clause.selectIds ? [clause.selectIds(() => sql`true`, ...values)] : []),
    ]
    for (const way of ways) {
      const matches = await db.read.all<{ id: number | string }>(way)
      t.strictSame(matches.flatMap(({ id }) => names.get(Number(id)) ?? []).sort(), finds, `${parameter}=${value}`)
    }
  }
})

onEach('a search handles texts that repeat one character', async (t, dialect) => {
  const app = await build(t, dialect)
  for (const name of ['one', 'two', 'three', 'four', 'five'])
    await create(app, 'products', { name, price: '1', description: 'a'.repeat(10_000) })
  const rows: [query: string, count: number][] = [
    [`search=${'a'.repeat(255)}`, 5],
    [`search=${[255, 254, 253, 230].map((length) => 'a'.repeat(length)).join('+')}`, 5],
    [`description__icontains=${'a'.repeat(255)}`, 5],
    [`description__icontains=${'a'.repeat(254)}b`, 0],
    [`name__icontains=${'a'.repeat(255)}`, 0],
  ]
  for (const [query, count] of rows) {
    t.equal((await get(app, `/api/products/?${query}`)).body.count, count, query.slice(0, 40))
  }
})

const parseLookup = (parameter: string) => parameter.split('__')[1] ?? 'exact'

t.test('every key in the rows exists', async (t) => {
  for (const { rows, keys } of RESOURCES) {
    const unknown = rows.flatMap(([, , finds]) => finds.split(' ').filter((key) => key !== '' && !keys.includes(key)))
    t.strictSame(unknown, [])
  }
})

t.test('every lookup has a row for each applicable kind of field', async (t) => {
  const findKind = (resource: (typeof RESOURCES)[number]['resource'], field = '') => resource.contract[field]?.[meta].kind
  const kinds = RESOURCES.flatMap(({ resource }) => Object.keys(resource.contract).map((field) => findKind(resource, field)))
  const covered = RESOURCES.flatMap(({ resource, rows }) =>
    rows.map(([parameter]) => `${parseLookup(parameter)} of ${findKind(resource, parameter.split('__')[0])}`),
  )
  for (const name of Object.keys(lookups) as LookupName[]) {
    const ownKinds = lookups[name].kinds.filter((kind) => kinds.includes(kind))
    t.not(ownKinds.length, 0, name)
    for (const kind of ownKinds) t.ok(covered.includes(`${name} of ${kind}`), `${name} of ${kind}`)
  }
})

t.test('every filter of every resource has a row', async (t) => {
  for (const { resource, rows } of RESOURCES) {
    const declared = [...resource.list.filters.keys()].filter((name) => !name.endsWith('!'))
    const covered = rows.map(([parameter]) => parameter)
    t.strictSame(
      declared.filter((name) => !covered.includes(name)),
      [],
      resource.table,
    )
  }
})
