package pipeline
import ("testing";"errors";"time";"context")
func TestZZ(t *testing.T){
 b := &bench{opts: embedded(t), timing: quick()}
 b.timing.mailDelivers = 3
 bus, store := b.connect(t), newFakeStore()
 store.before = func(int) error { return errors.New("always") }
 c := make(chan string, 10)
 sub,_ := bus.nc.SubscribeSync("$JS.EVENT.ADVISORY.>")
 s := openSession(t, bus, "a")
 publish(t, s, 1, []byte("x"))
 runArchiver(t, bus, store)
 _ = c
 for { m, err := sub.NextMsg(3*time.Second); if err != nil { break }; t.Log(m.Subject, string(m.Data)) }
 info, _ := bus.mails.Info(context.Background())
 t.Logf("%+v", info)
 info.Config.MaxWaiting++
}
