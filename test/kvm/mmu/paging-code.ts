/** paging-guest.asm as machine code: deflated, in base64. To make it again: assemble as its head says, and put deflateSync(file).toString('base64') here. */
import { inflateSync } from 'node:zlib';

const code = {
  32: 'eNrtkz9Iw0AUh3+xqQ3+4SrFSYTSOnRUsZODi+AqCOLkWEunji5CQigYIqHg4GAdCgq6VOhihKKZFIfSgg4FBwtCUQ9cLCg4nC9tFt0Vh/vgux8vhPceB8eU8awBlJEHWKJdVnvZOtcBj80OhzW/nnbHoOgs4b2k6bsGpkw+FYCMmwJDK+NG4TQzbhJOy/Fq2AQugAFcAirsQXtdtVc18ypqfgwx8xiArRa2qI9oH9FZIavkGVkjb8g7skU+kB3SDlkR81rlVSvGK0yZ5ycscc8PWdxLAwrt6/G9kjE35Q884Dvilm+7KAJ8xFX9CLsaRS6Z9Xcr5SaWG2vWksriTb+t1tv4eUUI0ZvSLxepnPE63W6xDwKEoGO/0c/dID+DfGtgA3kDFvD9/1MsIEXXHPShAVH8JlkUf+z9V7zrGuBAIpH8A0YNeo+vQERtG/I2JBKJRCKRSCR2qK5bsbouHr8ADjeM5Q==',
  64: 'eNrtlb9Lw0AYht/YVIMKVym66FBaBccqCoUOjgouTuLk2JROHTsmBpEYCEVHK1JwUdAuDhH8ERx0Ki24FAUpiIJGRLCDIBi/pEXtH+Ci98BzL9/luO/jljChP6sCRWQBFq0XRT9rhwpgs/GeoOTVcasPgsKi9uMk7SfAhKERrAIpaxQMtZQVgllNWTGYNdM+Qg44ATpwCoiQjU7ZWBRlY17SzkPaWzfT9gHaFpeX6DK3vkvrAWmRx+QZWSGvyBvyjnwijYCsd2kXorOnh50dJiSdbRa9drZYxJ4EBJradtYK6sSw13XTWXEvHc1CHnB6LdGLoCVRZGJpb8BCZnBuprIg69Mii1T9myV/8odZ13WbnZp1kuox+77RyHughevSslFp5nor30vNfK1AhqJCB9rPlzCFOD13/gv/Yw6/TBpt/f4wH0oCMMHhcDgcDucHAyr9H5+/aya9qPxVOBwO5/9hBMqKHi4r7u0nwCSTxA==',
} as const;
export const pagingCode = (width: 32 | 64): Uint8Array => inflateSync(Buffer.from(code[width], 'base64'));
