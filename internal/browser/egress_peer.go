package browser

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// The layout of the kernel's socket diagnosis: linux/inet_diag.h.
const (
	diagByFamily  = 20 // SOCK_DIAG_BY_FAMILY
	diagRequest   = 56 // sizeof(struct inet_diag_req_v2)
	diagAnswer    = 72 // sizeof(struct inet_diag_msg)
	diagUnread    = 56 // offsetof(struct inet_diag_msg, idiag_rqueue)
	diagUID       = 64 // offsetof(struct inet_diag_msg, idiag_uid)
	diagAllStates = 0xffffffff
)

// A peer is what the kernel knows of the other end of a connection.
type peer struct {
	uid    int // who owns it
	unread int // bytes that have arrived and were not read; the end of the stream counts as one
}

// peerOf describes the end client of the connection to server. Both are IPv4
// addresses of this machine. The kernel finds the one socket by its addresses,
// however many there are.
func peerOf(client, server netip.AddrPort) (peer, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return peer{}, fmt.Errorf("opening the socket diagnosis: %w", err)
	}
	defer unix.Close(fd) //nolint:errcheck // It was only read.
	timeout := unix.Timeval{Sec: 1}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return peer{}, fmt.Errorf("bounding the socket diagnosis: %w", err)
	}
	if err := unix.Sendto(fd, diagQuestion(client, server), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return peer{}, fmt.Errorf("asking the socket diagnosis: %w", err)
	}
	buf := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return peer{}, fmt.Errorf("reading the socket diagnosis: %w", err)
	}
	return readPeer(buf[:n])
}

func diagQuestion(client, server netip.AddrPort) []byte {
	order := binary.NativeEndian
	b := make([]byte, unix.NLMSG_HDRLEN+diagRequest)
	order.PutUint32(b[0:], uint32(len(b))) //nolint:gosec // It is 72.
	order.PutUint16(b[4:], diagByFamily)
	order.PutUint16(b[6:], unix.NLM_F_REQUEST)
	q := b[unix.NLMSG_HDRLEN:]
	q[0], q[1] = unix.AF_INET, unix.IPPROTO_TCP
	order.PutUint32(q[4:], diagAllStates)
	binary.BigEndian.PutUint16(q[8:], client.Port())
	binary.BigEndian.PutUint16(q[10:], server.Port())
	from, to := client.Addr().Unmap().As4(), server.Addr().Unmap().As4()
	copy(q[12:], from[:])
	copy(q[28:], to[:])
	order.PutUint64(q[48:], ^uint64(0)) // any cookie
	return b
}

func readPeer(b []byte) (peer, error) {
	order := binary.NativeEndian
	if len(b) < unix.NLMSG_HDRLEN+4 {
		return peer{}, errors.New("the socket diagnosis answered too little")
	}
	body := b[unix.NLMSG_HDRLEN:]
	if order.Uint16(b[4:]) == unix.NLMSG_ERROR {
		return peer{}, fmt.Errorf("the socket diagnosis: %w", syscall.Errno(-int32(order.Uint32(body)))) //nolint:gosec // The kernel sends a negative errno.
	}
	if len(body) < diagAnswer {
		return peer{}, errors.New("the socket diagnosis answered too little")
	}
	return peer{uid: int(order.Uint32(body[diagUID:])), unread: int(order.Uint32(body[diagUnread:]))}, nil
}
