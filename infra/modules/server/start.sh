#!/bin/bash
# The server's first start, and each one after: the way to the internet for its clients, then Kafka.
set -euxo pipefail

dnf install --assumeyes --quiet iptables-nft java-21-amazon-corretto-headless

echo net.ipv4.ip_forward=1 > /etc/sysctl.d/90-forward.conf
sysctl --system > /dev/null

cat > /usr/local/bin/share-internet <<'SHARE'
#!/bin/bash
set -eu
interface=$(ip route show default | awk '{ print $5; exit }')
iptables -t nat -C POSTROUTING -o "$interface" -j MASQUERADE 2> /dev/null || iptables -t nat -A POSTROUTING -o "$interface" -j MASQUERADE
SHARE
chmod +x /usr/local/bin/share-internet
cat > /etc/systemd/system/share-internet.service <<'UNIT'
[Unit]
After=network-online.target
Wants=network-online.target
[Service]
Type=oneshot
ExecStart=/usr/local/bin/share-internet
RemainAfterExit=yes
[Install]
WantedBy=multi-user.target
UNIT
systemctl enable --now share-internet

# The data's volume is attached after the start. It is formatted once in its life.
device=/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${volume_id}
until [ -b "$device" ]; do sleep 2; done
blkid "$device" > /dev/null || mkfs.xfs "$device"
mkdir -p /var/lib/kafka
grep -q /var/lib/kafka /etc/fstab || echo "$device /var/lib/kafka xfs defaults,nofail 0 2" >> /etc/fstab
mountpoint -q /var/lib/kafka || mount /var/lib/kafka

cd /tmp
curl --fail --silent --show-error --location --retry 5 --output kafka.tgz "${kafka_url}"
curl --fail --silent --show-error --location --retry 5 --output kafka.sha512 "${kafka_url}.sha512"
# The file has the name, a colon and the sum in groups.
[ "$(tr -d ' \n' < kafka.sha512 | cut -d: -f2 | tr A-F a-f)" = "$(sha512sum kafka.tgz | cut -d' ' -f1)" ]
mkdir -p /opt/kafka
tar --extract --gzip --strip-components 1 --directory /opt/kafka --file kafka.tgz

id kafka > /dev/null 2>&1 || useradd --system --no-create-home kafka
cat > /opt/kafka/config/quoteflow.properties <<'PROPERTIES'
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@localhost:9093
controller.listener.names=CONTROLLER
listeners=CLIENTS://:${port},CONTROLLER://localhost:9093
advertised.listeners=CLIENTS://${address}:${port}
listener.security.protocol.map=CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENTS
log.dirs=/var/lib/kafka/log
log.retention.hours=${retention_hours}
auto.create.topics.enable=false
num.partitions=3
default.replication.factor=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
# One server has no second copy: an acknowledged quote is on its disk.
log.flush.interval.messages=1
PROPERTIES
mkdir -p /var/lib/kafka/log
chown -R kafka:kafka /var/lib/kafka
su kafka --shell /bin/bash --command "/opt/kafka/bin/kafka-storage.sh format --ignore-formatted --cluster-id ${cluster_id} --config /opt/kafka/config/quoteflow.properties"

cat > /etc/systemd/system/kafka.service <<'UNIT'
[Unit]
After=network-online.target
Wants=network-online.target
RequiresMountsFor=/var/lib/kafka
[Service]
User=kafka
Environment=KAFKA_HEAP_OPTS=-Xmx768m LOG_DIR=/tmp/kafka
ExecStart=/opt/kafka/bin/kafka-server-start.sh /opt/kafka/config/quoteflow.properties
Restart=always
RestartSec=5
LimitNOFILE=100000
[Install]
WantedBy=multi-user.target
UNIT
systemctl enable --now kafka
