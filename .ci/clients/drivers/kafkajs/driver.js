// Carries out operations with kafkajs, one JSON line each way; the lines are described in driven.py.
//
//     node driver.js NODE_MODULES BOOTSTRAP

'use strict'

const { createRequire } = require('node:module')
const path = require('node:path')
const readline = require('node:readline')

const [modules, bootstrap] = process.argv.slice(2)
const load = createRequire(path.join(modules, 'driver.js'))
const { CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, KafkaJSProtocolError, Partitioners, logLevel } = load('kafkajs')

const UNKNOWN_TOPIC_OR_PARTITION = 3
const UNSUPPORTED_VERSION = 35
// Magic, independent blocks without checksums, 64 KiB each, and the header's own checksum.
const LZ4_FRAME_HEADER = Buffer.from('04224d18604082', 'hex')
const LZ4_BLOCK_BYTES = 1 << 16
const LZ4_NOT_COMPRESSED = 1 << 31
const TOPIC_ALREADY_EXISTS = 36

CompressionCodecs[CompressionTypes.Snappy] = load('kafkajs-snappy')
const lz4 = load('lz4js')
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => lz4Frame(encoder.buffer),
  decompress: async buffer => Buffer.from(lz4.decompress(buffer)),
})

// Returns a frame of blocks that do not depend on each other: Java reads no others, and the library writes no such.
function lz4Frame(content) {
  const parts = [LZ4_FRAME_HEADER]
  for (let at = 0; at < content.length; at += LZ4_BLOCK_BYTES) {
    const block = content.subarray(at, at + LZ4_BLOCK_BYTES)
    const compressed = Buffer.alloc(lz4.compressBound(block.length))
    const length = lz4.compressBlock(block, compressed, 0, block.length, new Uint32Array(1 << 16))
    const isSmaller = length > 0 && length < block.length
    const prefix = Buffer.alloc(4)
    prefix.writeUInt32LE(isSmaller ? length : (block.length | LZ4_NOT_COMPRESSED) >>> 0)
    parts.push(prefix, isSmaller ? compressed.subarray(0, length) : block)
  }
  return Buffer.concat([...parts, Buffer.alloc(4)])
}

const zstd = new Promise(resolve => load('zstd-codec').ZstdCodec.run(codec => resolve(new codec.Simple())))
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from((await zstd).compress(encoder.buffer)),
  decompress: async buffer => Buffer.from((await zstd).decompress(buffer)),
})
const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}

class Refusal extends Error {
  constructor(code) {
    super(`error ${code}`)
    this.code = code
  }
}

const kafka = new Kafka({
  brokers: [bootstrap],
  clientId: 'kafkajs',
  logLevel: logLevel.NOTHING,
  requestTimeout: 15000,
  retry: { retries: 3 },
})
const admin = kafka.admin()

function bytes(text) {
  return text === null ? null : Buffer.from(text, 'hex')
}

function message(record) {
  const headers = Object.fromEntries((record.headers || []).map(([name, value]) => [name, bytes(value)]))
  const timestamp = record.timestamp === undefined ? undefined : String(record.timestamp)
  return { key: bytes(record.key), value: bytes(record.value), headers, partition: record.partition, timestamp }
}

async function withProducer(settings, use) {
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, ...settings })
  await producer.connect()
  try {
    return await use(producer)
  } finally {
    await producer.disconnect()
  }
}

async function partitionsOf(topic) {
  const found = await admin.fetchTopicMetadata({ topics: [topic] })
  return found.topics[0].partitions
}

const operations = {
  async create_topic({ topic, partitions, replication_factor: replicationFactor, configs }) {
    const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }))
    const topics = [{ topic, numPartitions: partitions, replicationFactor, configEntries }]
    // It is silent about a topic that exists.
    if (!(await admin.createTopics({ topics }))) throw new Refusal(TOPIC_ALREADY_EXISTS)
  },

  async delete_topic({ topic }) {
    await admin.deleteTopics({ topics: [topic] })
  },

  async partition_count({ topic }) {
    try {
      return (await partitionsOf(topic)).length
    } catch (error) {
      if (causeOf(error).code === UNKNOWN_TOPIC_OR_PARTITION) return null
      throw error
    }
  },

  async topics() {
    return admin.listTopics()
  },

  async produce({ topic, records, codec, acks, idempotent }) {
    // One request for each record would need none of the batches' features, one for all is too large.
    const settings = { idempotent, ...(idempotent ? { maxInFlightRequests: 1 } : {}) }
    return withProducer(settings, async producer => {
      const offsets = new Array(records.length).fill(-1)
      const batches = new Map()
      records.forEach((record, at) => {
        const ofPartition = batches.get(record.partition) || []
        const last = ofPartition.at(-1)
        const size = (record.value || '').length / 2
        if (last && last.size + size < 900000) {
          last.places.push(at)
          last.size += size
        } else {
          ofPartition.push({ places: [at], size })
        }
        batches.set(record.partition, ofPartition)
      })
      for (const batch of [...batches.values()].flat()) {
        const messages = batch.places.map(at => message(records[at]))
        const answers = await producer.send({ topic, messages, acks, compression: CODECS[codec], timeout: 15000 })
        if (acks !== 0) {
          batch.places.forEach((at, number) => { offsets[at] = Number(answers[0].baseOffset) + number })
        }
      }
      return offsets
    })
  },

  async produce_by_key({ topic, records }) {
    await withProducer({}, producer => producer.send({ topic, messages: records.map(message) }))
  },

  async offsets({ topic, partition, timestamp }) {
    const found = timestamp < 0 ? await admin.fetchTopicOffsets(topic) : await admin.fetchTopicOffsetsByTimestamp(topic, timestamp)
    const place = found.find(of => of.partition === partition)
    if (timestamp < 0) return Number(timestamp === -2 ? place.low : place.high)
    // It names the end where no record is so late.
    const ends = await admin.fetchTopicOffsets(topic)
    return place.offset === ends.find(of => of.partition === partition).high ? -1 : Number(place.offset)
  },

  async describe_cluster() {
    return (await admin.describeCluster()).brokers.map(broker => `${broker.host}:${broker.port}`)
  },

  async topic_config({ topic }) {
    const resources = [{ type: ConfigResourceTypes.TOPIC, name: topic }]
    const found = await admin.describeConfigs({ resources })
    return Object.fromEntries(found.resources[0].configEntries.map(entry => [entry.configName, entry.configValue]))
  },

  async create_partitions({ topic, count }) {
    await admin.createPartitions({ topicPartitions: [{ topic, count }] })
  },

  async read_as_group({ topic, timeout_ms: timeout }) {
    const consumer = kafka.consumer({ groupId: 'unserved', retry: { retries: 0 } })
    await consumer.connect()
    try {
      await new Promise((resolve, reject) => {
        consumer.on(consumer.events.CRASH, event => reject(event.payload.error))
        setTimeout(resolve, timeout)
        consumer.subscribe({ topics: [topic] }).then(() => consumer.run({ eachMessage: async () => {} })).catch(reject)
      })
    } finally {
      await consumer.disconnect()
    }
  },

  async begin_transaction() {
    await withProducer({ transactionalId: 'unserved', idempotent: true, maxInFlightRequests: 1 }, producer => producer.transaction())
  },
}

// Returns the error that the server has named, or the one at hand.
function causeOf(error) {
  const causes = [...(error.errors || []), error.cause, error.originalError].filter(Boolean)
  const named = causes.map(causeOf).find(cause => cause instanceof KafkaJSProtocolError)
  return error instanceof KafkaJSProtocolError ? error : named || error
}

function failure(error) {
  if (error instanceof Refusal) return { refused: error.code, words: error.message }
  const cause = causeOf(error)
  if (cause.name === 'KafkaJSServerDoesNotSupportApiKey') return { refused: UNSUPPORTED_VERSION, words: cause.message }
  if (cause instanceof KafkaJSProtocolError && cause.code !== undefined) return { refused: cause.code, words: cause.message }
  return { broken: `${cause.name}: ${cause.message}` }
}

async function main() {
  await admin.connect()
  const lines = readline.createInterface({ input: process.stdin, crlfDelay: Infinity })
  lines.on('line', async line => {
    const asked = JSON.parse(line)
    let answer
    try {
      answer = { result: await operations[asked.operation](asked) }
    } catch (error) {
      answer = failure(error)
    }
    process.stdout.write(`${JSON.stringify({ id: asked.id, ...answer })}\n`)
  })
  lines.on('close', async () => {
    await admin.disconnect()
    process.exit(0)
  })
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
