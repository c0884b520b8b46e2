// Which partition clients in Go choose for keys: `partitions PARTITIONER COUNT`, with librdkafka's name of the
// partitioner, or `sarama` for Sarama's own. Reads keys in hexadecimal, one a line, `-` for none, and prints a
// partition of each.
package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"

	"github.com/IBM/sarama"
	"github.com/segmentio/kafka-go"
)

var balancers = map[string]kafka.Balancer{
	"consistent":        kafka.CRC32Balancer{Consistent: true},
	"consistent_random": kafka.CRC32Balancer{},
	"murmur2":           kafka.Murmur2Balancer{Consistent: true},
	"murmur2_random":    kafka.Murmur2Balancer{},
	"fnv1a":             &kafka.Hash{},
	"fnv1a_random":      &kafka.Hash{},
	"sarama":            hashPartitioner{sarama.NewHashPartitioner("")},
}

// Sarama's, in the form of the others.
type hashPartitioner struct{ sarama.Partitioner }

func (p hashPartitioner) Balance(message kafka.Message, partitions ...int) int {
	key := sarama.ByteEncoder(message.Key)
	partition, err := p.Partition(&sarama.ProducerMessage{Key: key}, int32(len(partitions)))
	if err != nil {
		panic(err)
	}
	return int(partition)
}

func main() {
	balancer, known := balancers[os.Args[1]]
	count, err := strconv.Atoi(os.Args[2])
	if !known || err != nil {
		panic(fmt.Sprint("no such partitioner or count: ", os.Args[1:]))
	}
	partitions := make([]int, count)
	for index := range partitions {
		partitions[index] = index
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fmt.Println(balancer.Balance(kafka.Message{Key: key(lines.Text())}, partitions...))
	}
	if err := lines.Err(); err != nil {
		panic(err)
	}
}

func key(line string) []byte {
	if line == "-" {
		return nil
	}
	key, err := hex.DecodeString(line)
	if err != nil {
		panic(err)
	}
	return key
}
