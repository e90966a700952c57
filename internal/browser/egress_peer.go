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
	diagUID       = 64 // offsetof(struct inet_diag_msg, idiag_uid)
	diagAllStates = 0xffffffff
)

// ownerOf returns the user that owns the local end client of the connection to
// server. Both are IPv4 addresses of this machine. The kernel finds the one
// socket by its addresses, however many there are.
func ownerOf(client, server netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, fmt.Errorf("opening the socket diagnosis: %w", err)
	}
	defer unix.Close(fd) //nolint:errcheck // It was only read.
	timeout := unix.Timeval{Sec: 1}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return 0, fmt.Errorf("bounding the socket diagnosis: %w", err)
	}
	if err := unix.Sendto(fd, diagQuestion(client, server), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, fmt.Errorf("asking the socket diagnosis: %w", err)
	}
	buf := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return 0, fmt.Errorf("reading the socket diagnosis: %w", err)
	}
	return readOwner(buf[:n])
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

func readOwner(b []byte) (int, error) {
	order := binary.NativeEndian
	if len(b) < unix.NLMSG_HDRLEN+4 {
		return 0, errors.New("the socket diagnosis answered too little")
	}
	body := b[unix.NLMSG_HDRLEN:]
	if order.Uint16(b[4:]) == unix.NLMSG_ERROR {
		return 0, fmt.Errorf("the socket diagnosis: %w", syscall.Errno(-int32(order.Uint32(body)))) //nolint:gosec // The kernel sends a negative errno.
	}
	if len(body) < diagAnswer {
		return 0, errors.New("the socket diagnosis answered too little")
	}
	return int(order.Uint32(body[diagUID:])), nil
}
