// Carries out operations with franz-go, one JSON line each way; the lines are described in driven.py.
//
//	franz-go BOOTSTRAP
package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	lineBytesMax     = 256 << 20
	operationTimeout = 20 * time.Second
	unsupportedError = 35
	batchBytesMax    = 1_000_000
	recordBytesMax   = 10 << 20
	fetchWait        = 100 * time.Millisecond
	earliest, latest = -2, -1
	metadataMinAge   = 100 * time.Millisecond
	metadataMaxAge   = 200 * time.Millisecond
	writePause       = 20 * time.Millisecond
)

type header [2]*string

type record struct {
	Partition int32    `json:"partition"`
	Offset    int64    `json:"offset"`
	Epoch     int32    `json:"epoch"`
	Timestamp int64    `json:"timestamp"`
	Key       *string  `json:"key"`
	Value     *string  `json:"value"`
	Headers   []header `json:"headers"`
}

type request struct {
	ID                int64              `json:"id"`
	Operation         string             `json:"operation"`
	Topic             string             `json:"topic"`
	Partitions        int32              `json:"partitions"`
	ReplicationFactor int16              `json:"replication_factor"`
	Configs           map[string]*string `json:"configs"`
	Changes           map[string]*string `json:"changes"`
	Records           []record           `json:"records"`
	Codec             string             `json:"codec"`
	Acks              int                `json:"acks"`
	Idempotent        bool               `json:"idempotent"`
	Partition         int32              `json:"partition"`
	Offset            int64              `json:"offset"`
	Epoch             *int32             `json:"epoch"`
	Count             int                `json:"count"`
	Timestamp         int64              `json:"timestamp"`
	TimeoutMs         int64              `json:"timeout_ms"`
}

type driver struct {
	bootstrap string
	admin     *kadm.Client
}

// refusal is what the server has refused, with its words.
type refusal struct {
	code  int16
	words string
}

func (refused refusal) Error() string { return refused.words }

func main() {
	shared, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(os.Args[1], ",")...), kgo.MetadataMinAge(metadataMinAge))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	driver := driver{os.Args[1], kadm.NewClient(shared)}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(make([]byte, 1<<20), lineBytesMax)
	var writing sync.Mutex
	var underway sync.WaitGroup
	for lines.Scan() {
		var asked request
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		underway.Go(func() {
			answer, err := json.Marshal(driver.answer(asked))
			if err != nil {
				panic(err)
			}
			writing.Lock()
			defer writing.Unlock()
			os.Stdout.Write(append(answer, '\n'))
		})
	}
	underway.Wait()
	shared.Close()
}

func (driver driver) answer(asked request) map[string]any {
	ctx, cancel := context.WithTimeout(context.Background(), operationTimeout)
	defer cancel()
	result, err := driver.carryOut(ctx, asked)
	var refused refusal
	var named *kerr.Error
	switch {
	case err == nil:
		return map[string]any{"id": asked.ID, "result": result}
	case errors.As(err, &refused):
		return map[string]any{"id": asked.ID, "refused": refused.code, "words": refused.words}
	case errors.As(err, &named):
		return map[string]any{"id": asked.ID, "refused": named.Code, "words": err.Error()}
	case isUnsupported(err):
		return map[string]any{"id": asked.ID, "refused": unsupportedError, "words": err.Error()}
	default:
		return map[string]any{"id": asked.ID, "broken": err.Error()}
	}
}

func (driver driver) carryOut(ctx context.Context, asked request) (any, error) {
	topic := asked.Topic
	switch asked.Operation {
	case "create_topic":
		created, err := driver.admin.CreateTopic(ctx, asked.Partitions, asked.ReplicationFactor, asked.Configs, topic)
		return nil, inWords(err, created.ErrMessage)
	case "delete_topic":
		deleted, err := driver.admin.DeleteTopic(ctx, topic)
		return nil, inWords(err, deleted.ErrMessage)
	case "partition_count":
		return driver.partitionCount(ctx, topic)
	case "topics":
		found, err := driver.admin.ListTopics(ctx)
		return found.Names(), err
	case "produce":
		return driver.produce(ctx, asked)
	case "produce_by_key":
		return nil, driver.produceByKey(ctx, asked)
	case "consume":
		return driver.consume(asked)
	case "offsets":
		return driver.offsets(ctx, asked)
	case "describe_cluster":
		found, err := driver.admin.BrokerMetadata(ctx)
		addresses := []string{}
		for _, broker := range found.Brokers {
			addresses = append(addresses, fmt.Sprintf("%s:%d", broker.Host, broker.Port))
		}
		return addresses, err
	case "topic_config":
		return driver.topicConfig(ctx, topic)
	case "create_partitions":
		created, err := driver.admin.UpdatePartitions(ctx, asked.Count, topic)
		if err != nil {
			return nil, err
		}
		return nil, inWords(created[topic].Err, created[topic].ErrMessage)
	case "change_configs":
		return nil, driver.changeConfigs(ctx, asked)
	case "write_and_read":
		return driver.writeAndRead(asked)
	case "read_as_group":
		return nil, driver.readAsGroup(asked)
	case "begin_transaction":
		return nil, driver.beginTransaction(ctx)
	}
	return nil, fmt.Errorf("there is no operation %q", asked.Operation)
}

func (driver driver) partitionCount(ctx context.Context, topic string) (any, error) {
	// Not from the library's memory.
	fresh, err := kgo.NewClient(kgo.SeedBrokers(driver.bootstrap))
	if err != nil {
		return nil, err
	}
	defer fresh.Close()
	found, err := kadm.NewClient(fresh).Metadata(ctx, topic)
	if err != nil {
		return nil, err
	}
	detail := found.Topics[topic]
	if errors.Is(detail.Err, kerr.UnknownTopicOrPartition) {
		return nil, nil
	}
	return len(detail.Partitions), detail.Err
}

func (driver driver) produce(ctx context.Context, asked request) (any, error) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	acks := map[int]kgo.Acks{-1: kgo.AllISRAcks(), 1: kgo.LeaderAck(), 0: kgo.NoAck()}
	options := []kgo.Opt{
		kgo.SeedBrokers(driver.bootstrap), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(codecs[asked.Codec]), kgo.RequiredAcks(acks[asked.Acks]),
	}
	for _, wanted := range asked.Records {
		if wanted.Value != nil && len(*wanted.Value)/2 > batchBytesMax {
			// The library would refuse it by itself.
			options = append(options, kgo.ProducerBatchMaxBytes(recordBytesMax))
		}
	}
	if !asked.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))
	}
	producer, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	records := make([]*kgo.Record, 0, len(asked.Records))
	for _, wanted := range asked.Records {
		made, err := wanted.toProduce(asked.Topic)
		if err != nil {
			return nil, err
		}
		records = append(records, made)
	}
	if err := producer.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return nil, err
	}
	offsets := make([]int64, len(records))
	for at, made := range records {
		offsets[at] = made.Offset
	}
	return offsets, nil
}

func (driver driver) produceByKey(ctx context.Context, asked request) error {
	producer, err := kgo.NewClient(kgo.SeedBrokers(driver.bootstrap), kgo.AllowAutoTopicCreation())
	if err != nil {
		return err
	}
	defer producer.Close()
	records := make([]*kgo.Record, 0, len(asked.Records))
	for _, wanted := range asked.Records {
		made, err := wanted.toProduce(asked.Topic)
		if err != nil {
			return err
		}
		records = append(records, made)
	}
	return producer.ProduceSync(ctx, records...).FirstErr()
}

func (driver driver) consume(asked request) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(asked.TimeoutMs)*time.Millisecond)
	defer cancel()
	from := map[string]map[int32]kgo.Offset{asked.Topic: {asked.Partition: kgo.NewOffset().At(asked.Offset)}}
	if asked.Epoch != nil {
		from[asked.Topic][asked.Partition] = kgo.NewOffset().At(asked.Offset).WithEpoch(*asked.Epoch)
	}
	consumer, err := kgo.NewClient(kgo.SeedBrokers(driver.bootstrap), kgo.ConsumePartitions(from), kgo.FetchMaxWait(fetchWait))
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	found := []record{}
	for len(found) < asked.Count && ctx.Err() == nil {
		fetches := consumer.PollRecords(ctx, asked.Count-len(found))
		for _, failed := range fetches.Errors() {
			if ctx.Err() == nil {
				return nil, failed.Err
			}
		}
		fetches.EachRecord(func(read *kgo.Record) { found = append(found, fromConsumed(read)) })
	}
	return found, nil
}

func (driver driver) offsets(ctx context.Context, asked request) (any, error) {
	var listed kadm.ListedOffsets
	var err error
	switch asked.Timestamp {
	case earliest:
		listed, err = driver.admin.ListStartOffsets(ctx, asked.Topic)
	case latest:
		listed, err = driver.admin.ListEndOffsets(ctx, asked.Topic)
	default:
		listed, err = driver.admin.ListOffsetsAfterMilli(ctx, asked.Timestamp, asked.Topic)
	}
	if err != nil {
		return nil, err
	}
	found, isThere := listed.Lookup(asked.Topic, asked.Partition)
	switch {
	case !isThere:
		return nil, kerr.UnknownTopicOrPartition
	case found.Err != nil:
		return nil, found.Err
	case asked.Timestamp >= 0 && found.Timestamp == -1:
		// It names the end where no record is so late.
		return -1, nil
	}
	return found.Offset, nil
}

func (driver driver) topicConfig(ctx context.Context, topic string) (any, error) {
	described, err := driver.admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return nil, err
	}
	of, err := described.On(topic, nil)
	if err != nil {
		return nil, err
	}
	entries := map[string]*string{}
	for _, config := range of.Configs {
		entries[config.Key] = config.Value
	}
	return entries, of.Err
}

func (driver driver) changeConfigs(ctx context.Context, asked request) error {
	var changes []kadm.AlterConfig
	for key, value := range asked.Changes {
		operation := kadm.SetConfig
		if value == nil {
			operation = kadm.DeleteConfig
		}
		changes = append(changes, kadm.AlterConfig{Op: operation, Name: key, Value: value})
	}
	altered, err := driver.admin.AlterTopicConfigs(ctx, changes, asked.Topic)
	if err != nil {
		return err
	}
	of, err := altered.On(asked.Topic, nil)
	if err != nil {
		return err
	}
	return inWords(of.Err, of.ErrMessage)
}

// writeAndRead writes small records for a while, with metadata that is asked for again and again, and reads them. It returns how
// many were acknowledged and how many were read.
func (driver driver) writeAndRead(asked request) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(asked.TimeoutMs)*time.Millisecond+operationTimeout)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(driver.bootstrap, ",")...), kgo.ConsumeTopics(asked.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(fetchWait),
		kgo.MetadataMaxAge(metadataMaxAge), kgo.MetadataMinAge(metadataMinAge))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var written, read atomic.Int64
	var failure atomic.Value
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	go func() {
		for reading.Err() == nil {
			read.Add(int64(client.PollFetches(reading).NumRecords()))
		}
	}()
	for end := time.Now().Add(time.Duration(asked.TimeoutMs) * time.Millisecond); time.Now().Before(end); time.Sleep(writePause) {
		client.Produce(ctx, &kgo.Record{Topic: asked.Topic, Value: []byte("record")}, func(_ *kgo.Record, err error) {
			if err != nil {
				failure.Store(err)
			} else {
				written.Add(1)
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		return nil, err
	}
	if err, isThere := failure.Load().(error); isThere {
		return nil, err
	}
	for read.Load() < written.Load() && ctx.Err() == nil {
		time.Sleep(writePause)
	}
	return []int64{written.Load(), read.Load()}, nil
}

func (driver driver) readAsGroup(asked request) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(asked.TimeoutMs)*time.Millisecond)
	defer cancel()
	consumer, err := kgo.NewClient(kgo.SeedBrokers(driver.bootstrap), kgo.ConsumerGroup("unserved"), kgo.ConsumeTopics(asked.Topic))
	if err != nil {
		return err
	}
	defer consumer.Close()
	for ctx.Err() == nil {
		for _, failed := range consumer.PollFetches(ctx).Errors() {
			if ctx.Err() == nil {
				return failed.Err
			}
		}
	}
	return nil
}

func (driver driver) beginTransaction(ctx context.Context) error {
	producer, err := kgo.NewClient(kgo.SeedBrokers(driver.bootstrap), kgo.TransactionalID("unserved"))
	if err != nil {
		return err
	}
	defer producer.Close()
	_, _, err = producer.ProducerID(ctx)
	return err
}

// inWords returns an error with what the server says about it.
func inWords(err error, words string) error {
	var named *kerr.Error
	if errors.As(err, &named) {
		return refusal{named.Code, words}
	}
	return err
}

// isUnsupported says whether the server does not offer what the library wanted to ask, for which it exports no error.
func isUnsupported(err error) bool {
	return strings.Contains(err.Error(), "broker is too old") || strings.Contains(err.Error(), "request key is unknown")
}

func (wanted record) toProduce(topic string) (*kgo.Record, error) {
	made := &kgo.Record{Topic: topic, Partition: wanted.Partition}
	if wanted.Timestamp > 0 {
		made.Timestamp = time.UnixMilli(wanted.Timestamp)
	}
	var err error
	if made.Key, err = fromText(wanted.Key); err != nil {
		return nil, err
	}
	if made.Value, err = fromText(wanted.Value); err != nil {
		return nil, err
	}
	for _, pair := range wanted.Headers {
		value, err := fromText(pair[1])
		if err != nil {
			return nil, err
		}
		made.Headers = append(made.Headers, kgo.RecordHeader{Key: *pair[0], Value: value})
	}
	return made, nil
}

func fromConsumed(read *kgo.Record) record {
	found := record{
		Partition: read.Partition, Offset: read.Offset, Epoch: read.LeaderEpoch, Timestamp: read.Timestamp.UnixMilli(),
		Key: asText(read.Key), Value: asText(read.Value), Headers: []header{},
	}
	for _, pair := range read.Headers {
		name := pair.Key
		found.Headers = append(found.Headers, header{&name, asText(pair.Value)})
	}
	return found
}

func asText(content []byte) *string {
	if content == nil {
		return nil
	}
	text := hex.EncodeToString(content)
	return &text
}

func fromText(text *string) ([]byte, error) {
	if text == nil {
		return nil, nil
	}
	content := make([]byte, hex.DecodedLen(len(*text)))
	_, err := hex.Decode(content, []byte(*text))
	return content, err
}
