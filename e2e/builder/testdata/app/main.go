// Command app is what the end-to-end test has in its image: it prints its arguments, and waits to be killed if there are none.
package main

import (
	"fmt"
	"os"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		fmt.Println(os.Args[1:])
		return
	}
	fmt.Println("waiting")
	time.Sleep(time.Hour)
}
